"""A stock gRPC client on ``xds:///``: knows nothing of meshlib. Started by test_grpcio_xds.py.

``stock_client.py sync|aio TARGET``; the bootstrap stands in GRPC_XDS_BOOTSTRAP_CONFIG. For each
number read, that many calls are made, one after the other, and what came of them is printed. Any
other line is a target to connect to as well.
"""

import asyncio
import json
import sys
from collections import Counter

import grpc

METHOD = "/test.Who/Are"
TIMEOUT = 20
METADATA = (("x-who", "judge"),)


def sync_answers(target):
    channels = [grpc.insecure_channel(target)]
    who = channels[0].unary_unary(METHOD)

    def call():
        try:
            return who(b"", timeout=TIMEOUT, metadata=METADATA).decode()
        except grpc.RpcError as error:
            return f"failed: {error.code()} {error.details()}"

    def answer(line):
        if line.isdecimal():
            return Counter(call() for _ in range(int(line)))
        channels.append(grpc.insecure_channel(line))
        channels[-1].subscribe(lambda state: None, try_to_connect=True)
        return {}

    return answer


def aio_answers(target):
    loop = asyncio.new_event_loop()
    channels = []

    async def made(other):
        channels.append(grpc.aio.insecure_channel(other))
        return channels[-1]

    async def connect(other):
        (await made(other)).get_state(try_to_connect=True)
        return {}

    who = loop.run_until_complete(made(target)).unary_unary(METHOD)

    async def call():
        try:
            return (await who(b"", timeout=TIMEOUT, metadata=METADATA)).decode()
        except grpc.aio.AioRpcError as error:
            return f"failed: {error.code()} {error.details()}"

    async def calls(times):
        return Counter([await call() for _ in range(times)])

    def answer(line):
        return loop.run_until_complete(calls(int(line)) if line.isdecimal() else connect(line))

    return answer


def main():
    answer = {"sync": sync_answers, "aio": aio_answers}[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        print(json.dumps(answer(line.strip())), flush=True)


main()
