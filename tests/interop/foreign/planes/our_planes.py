"""Control planes on meshlib's own snapshot cache, told what go/plane is told, in its words.

``our_planes.py SOCKET``: whoever connects gets a plane of its own, a forked child that starts at
once and can be killed. It says its pid and address; then each line is a command as JSON, answered
by a line of JSON. All end with the standard input.
"""

import asyncio
import base64
import json
import os
import select
import signal
import socket
import sys
from typing import Any

from google.protobuf.any_pb2 import Any as Packed

from meshlib.controlplane import SnapshotCache
from meshlib.controlplane.server import serve
from meshlib.xds.protos import message_class

EVERYONE = "everyone"
LONGEST_LINE = 64 << 20


def unpacked(given: str) -> Any:
    packed = Packed.FromString(base64.b64decode(given))
    return message_class(packed.type_url.rpartition("/")[2]).FromString(packed.value)


async def plane(line: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=line, limit=LONGEST_LINE)

    def say(**what: object) -> None:
        writer.write(f"{json.dumps(what)}\n".encode())

    address = json.loads(await reader.readline())["address"]
    cache = SnapshotCache(lambda node: EVERYONE, check=False)
    is_first = True
    while True:
        async with serve(cache, address) as server:
            address = server.address
            say(**({"address": address, "pid": os.getpid()} if is_first else {}))
            is_first = False
            while given := await reader.readline():
                command = json.loads(given)
                match command["do"]:
                    case "set":
                        resources = map(unpacked, command["resources"])
                        cache.set_snapshot(EVERYONE, resources, command["version"])
                    case "clear":
                        cache.clear(EVERYONE)
                    case "restart":
                        break
                say()
            else:
                return


def main() -> None:
    message_class("envoy.service.discovery.v3.DiscoveryRequest")  # read once, for all
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(sys.argv[1])
        door.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
            line, _ = door.accept()
            if os.fork() == 0:
                door.close()
                asyncio.run(plane(line))
                return
            line.close()


main()
