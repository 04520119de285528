"""World → Snapshot: what one scope's member of the mesh runs on."""

import hashlib

from ... import model
from .compiler import Compiler

__all__ = ["Compiler", "version_of"]


def version_of(snapshot: model.Snapshot) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for kind in (snapshot.listeners, snapshot.routes, snapshot.clusters, snapshot.endpoints):
        for name in sorted(kind):
            digest.update(repr(kind[name]).encode())
    return digest.hexdigest()
