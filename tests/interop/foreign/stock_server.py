"""A stock gRPC server whose listener comes by xDS: knows nothing of meshlib.

``stock_server.py HOST:PORT ANSWER``; the bootstrap stands in GRPC_XDS_BOOTSTRAP_CONFIG. Its address
is printed as JSON; it ends with its standard input.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


def main():
    address, answer = sys.argv[1:]
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: answer.encode())
    server = grpc.server(ThreadPoolExecutor(2), xds=True)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("test.Who", {"Are": handler})]
    )
    credentials = grpc.xds_server_credentials(grpc.insecure_server_credentials())
    server.add_secure_port(address, credentials)
    server.start()
    print(json.dumps({"address": address}), flush=True)
    sys.stdin.read()
    server.stop(None).wait()


main()
