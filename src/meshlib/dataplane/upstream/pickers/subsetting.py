"""Random subsetting: a large fleet of clients, each with few endpoints of its own (gRFC A68)."""

from collections.abc import Sequence

from ...routing.hashing import xx_hash_64
from .candidate import Candidate


def subset(candidates: Sequence[Candidate], size: int, seed: int) -> tuple[Candidate, ...]:
    """The ``size`` of highest random weight (rendezvous), in the order that they had.

    One that leaves is replaced by one other, and the rest stay.
    """
    if len(candidates) <= size:
        return tuple(candidates)
    ranked = sorted(
        candidates, key=lambda candidate: xx_hash_64(candidate.endpoint.key, seed), reverse=True
    )
    chosen = {candidate.endpoint for candidate in ranked[:size]}
    return tuple(candidate for candidate in candidates if candidate.endpoint in chosen)
