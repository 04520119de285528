"""meshlib's own snapshot cache as a control plane, told what go/plane is told, in its words.

``our_plane.py HOST:PORT``: each line read is a command as JSON, answered by a line of JSON.
"""

import asyncio
import base64
import json
import sys
from typing import Any

from google.protobuf.any_pb2 import Any as Packed

from meshlib.controlplane import SnapshotCache
from meshlib.controlplane.server import serve
from meshlib.xds.protos import message_class

EVERYONE = "everyone"


def unpacked(given: str) -> Any:
    packed = Packed.FromString(base64.b64decode(given))
    return message_class(packed.type_url.rpartition("/")[2]).FromString(packed.value)


async def main() -> None:
    loop, address = asyncio.get_running_loop(), sys.argv[1]
    cache = SnapshotCache(lambda node: EVERYONE, check=False)
    is_first = True
    while True:
        async with serve(cache, address) as server:
            address = server.address
            say({"address": address} if is_first else {})
            is_first = False
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                command = json.loads(line)
                match command["do"]:
                    case "set":
                        given = map(unpacked, command["resources"])
                        cache.set_snapshot(EVERYONE, given, command["version"])
                    case "clear":
                        cache.clear(EVERYONE)
                    case "restart":
                        break
                say({})
            else:
                return


def say(line: dict[str, str]) -> None:
    print(json.dumps(line), flush=True)


asyncio.run(main())
