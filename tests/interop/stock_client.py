"""A stock gRPC client on ``xds:///``: knows nothing of meshlib. Started by test_grpcio_xds.py.

``stock_client.py sync|aio TARGET``; the bootstrap stands in GRPC_XDS_BOOTSTRAP_CONFIG. For each
number read, that many calls are made, one after the other, and what came of them is printed.
"""

import asyncio
import json
import sys
from collections import Counter

import grpc

METHOD = "/test.Who/Are"
TIMEOUT = 20


def sync_calls(target):
    who = grpc.insecure_channel(target).unary_unary(METHOD)

    def call():
        try:
            return who(b"", timeout=TIMEOUT).decode()
        except grpc.RpcError as error:
            return f"failed: {error.code()} {error.details()}"

    return lambda times: Counter(call() for _ in range(times))


def aio_calls(target):
    loop = asyncio.new_event_loop()

    async def connect():
        return grpc.aio.insecure_channel(target).unary_unary(METHOD)

    who = loop.run_until_complete(connect())

    async def call():
        try:
            return (await who(b"", timeout=TIMEOUT)).decode()
        except grpc.aio.AioRpcError as error:
            return f"failed: {error.code()} {error.details()}"

    async def calls(times):
        return Counter([await call() for _ in range(times)])

    return lambda times: loop.run_until_complete(calls(times))


def main():
    calls = {"sync": sync_calls, "aio": aio_calls}[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        print(json.dumps(calls(int(line))), flush=True)


main()
