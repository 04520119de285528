"""What the mesh would do with a request, and why: the answer of a dry run."""

from dataclasses import asdict, dataclass
from typing import Any

from ..model import Metadata, RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTried:
    """One rule and what came of it: ``matched``, ``skipped`` or ``not reached``."""

    source: str
    rule: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalResponse:
    """What the mesh answers by itself: a redirect or a direct response."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the clusters that a weighted route may take; ``weight`` of the route's total."""

    cluster: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Where a ``share`` of such calls (0 to 1) is sent once more."""

    cluster: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``cluster`` is ``None`` where the mesh answers by itself or has no route.

    ``timeout`` in seconds, ``None`` for no limit. ``clusters`` lists every possible choice with
    its weight; ``cluster`` is the one that the dice chose. ``response_headers`` are those that are
    added to a response without any; ``filters`` those that have something to do with such a call,
    in the order in which it meets them. ``hash_key`` is what a ring or a table would choose by.
    """

    virtual_host: str = ""
    virtual_cluster: str = ""
    route: str = ""
    route_metadata: Metadata = Metadata()
    cluster: str | None = None
    clusters: tuple[Choice, ...] = ()
    endpoints: tuple[str, ...] = ()
    path: str = ""
    authority: str = ""
    request_headers: tuple[tuple[str, str], ...] = ()
    response_headers: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None
    retry_policy: RetryPolicy | None = None
    mirrors: tuple[Copy, ...] = ()
    filters: tuple[str, ...] = ()
    hash_key: int | None = None
    response: LocalResponse | None = None
    error: str = ""
    trace: tuple[RuleTried, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
