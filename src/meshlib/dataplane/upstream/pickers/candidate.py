"""What pickers choose from, and what they are."""

from typing import NamedTuple, Protocol

from ..endpoint import UpstreamEndpoint


class Candidate(NamedTuple):
    """An endpoint with its weight in this choice; ``name`` is what stands for it on a ring."""

    endpoint: UpstreamEndpoint
    weight: float = 1
    name: str = ""


class Picker(Protocol):
    """``hash_key``: calls with equal ones belong together, where the policy cares. ``attempt``
    counts how often the picker was asked for one and the same call, from 0."""

    def pick(self, hash_key: int | None = None, attempt: int = 0) -> UpstreamEndpoint: ...
