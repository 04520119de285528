"""Stars, over gRPC (threads)."""

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from hops import hop

from meshlib import Mesh

mesh = Mesh("ratings", version="v1")


def get(request: dict, context: grpc.ServicerContext) -> dict:
    trace = dict(context.invocation_metadata()).get("traceparent")
    return {"stars": 5, "hops": [hop(mesh, "v1", trace, context)]}


def serve(port: str) -> None:
    with mesh:
        server = grpc.server(ThreadPoolExecutor(8), interceptors=mesh.grpc.server_interceptors())
        handler = grpc.unary_unary_rpc_method_handler(
            get, json.loads, lambda message: json.dumps(message).encode()
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bookinfo.Ratings", {"Get": handler}),)
        )
        mesh.grpc.add_port(server, f"127.0.0.1:{port}")
        signal.signal(signal.SIGTERM, lambda *_: server.stop(5))
        server.start()
        server.wait_for_termination()


if __name__ == "__main__":
    serve(sys.argv[1])
