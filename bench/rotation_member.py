"""A member whose certificate is exchanged all the time: server, caller, or one that is revoked.

A process of its own. It tells on standard output that it is ready, ends when standard input does,
and tells then what it saw. Times are those of the monotonic clock, which all processes share.
"""

import asyncio
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from rotation_callers import load, revoked
from rotation_server import serve

from meshlib import Mesh
from meshlib.identity.authority import Authority
from meshlib.identity.client import CaAddress, CaSource
from meshlib.identity.credentials import IdentityError
from meshlib.identity.sources import Feed
from meshlib.identity.spiffe import SpiffeId
from meshlib.identity.store import FolderStore
from meshlib.identity.tokens import JoinTokens
from meshlib.mesh import root
from meshlib.mesh.identity import Identity

LOOK = 0.02


class AuthoritySource(Feed):
    """Has every leaf signed on the spot, and hears of roots and denials from the CA's folder."""

    def __init__(self, folder: str, spiffe_id: str, every: float, ttl: float) -> None:
        super().__init__()
        self._authority = Authority(FolderStore(Path(folder)))
        self._id = SpiffeId.parse(spiffe_id)
        self._every, self._ttl = every, ttl
        self._over = threading.Event()
        self._due = 0.0
        self.failed: Counter[str] = Counter()
        self._look()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def start(self) -> None:
        """It has."""

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def status(self) -> dict[str, object]:
        return {"kind": "authority", **self.shown()}

    def _run(self) -> None:
        while not self._over.wait(LOOK):
            try:
                self._look()
            except IdentityError as error:
                self.failed[str(error)] += 1

    def _look(self) -> None:
        news = self._authority.refresh()
        current = self.current()
        svid = None if current is None else current.svid
        if time.monotonic() >= self._due:
            with suppress(IdentityError):  # revoked: what it has is all that it will ever have
                svid = self._authority.issue(self._id, time.time(), self._ttl)
                news = True
            self._due = time.monotonic() + self._every * (0.9 + 0.2 * random.random())
        if news and svid is not None:
            self.put(self._authority.credentials(svid))


def mesh_of(plan: dict[str, Any]) -> Mesh:
    """A mesh of its own would have a certificate for an hour."""
    if plan["mode"] == "plane":
        source: Any = source_of(plan)
        place = {"control_plane": plan["plane"]}
    else:
        source = AuthoritySource(plan["ca"], plan["spiffe_id"], plan["every"], plan["ttl"])
        place = {"config": plan["config"]}
    root.identity_of = lambda options: Identity(source, options.mtls)
    return Mesh(plan["name"], **place)


def source_of(plan: dict[str, Any]) -> CaSource:
    """It begins with a token for its id, and goes on by its certificate."""
    store = FolderStore(Path(plan["ca"]))
    token = JoinTokens(store).create(SpiffeId.parse(plan["spiffe_id"]), time.time())
    roots = Authority(store).bundle().pem
    address = CaAddress(target=plan["plane"], roots=lambda: roots, token=lambda: token)
    made = CaSource(
        address, wall=time.time, monotonic=time.monotonic, dice=random.random, ttl=plan["ttl"]
    )
    threading.Thread(target=hurry, args=(made, plan["every"]), daemon=True).start()
    return made


def hurry(source: CaSource, every: float) -> None:
    """It would wait for half of a certificate's life."""
    while not source._ending.wait(every):
        if source.current() is not None:
            source._renew_now = True
            source._wakes.set()


async def main(plan: dict[str, Any]) -> None:
    roles = {"serve": serve, "load": load, "revoked": revoked}
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(mesh_of(plan))
        said = await roles[plan["role"]](plan, mesh)
        source = mesh._runtime.credentials
        said["unsigned"] = dict(getattr(source, "failed", {}))
        if source is not None:
            source.close()
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this ends it
    asyncio.run(main(json.loads(sys.argv[1])))
