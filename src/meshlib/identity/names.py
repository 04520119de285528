"""The DNS name that stands for a SPIFFE id, for clients that can compare DNS names only."""

from base64 import b32encode
from hashlib import sha256

from .spiffe import SpiffeId

SUFFIX = ".sid.meshlib.invalid"
"""Reserved: our CA puts nothing else under it, and takes nothing under it from anybody."""


def derived_name(spiffe_id: SpiffeId | str) -> str:
    """Exactly one name for each id: a hash, so letter case and look-alikes cannot meet."""
    digest = sha256(str(spiffe_id).encode()).digest()
    return b32encode(digest).decode().rstrip("=").lower() + SUFFIX


def is_reserved(name: str) -> bool:
    """Whether a DNS name, a wildcard too, claims to be or to cover a derived one."""
    canonical = name.lower().rstrip(".")
    return f".{canonical}".endswith(SUFFIX)
