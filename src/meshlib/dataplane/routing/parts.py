"""What the compilation of a route table needs from outside of it."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field

from ...clock import Clock, Dice
from ...model import HttpFilter, RateLimit
from ..filters.chain import Kept, Site
from ..filters.tokens import Tokens
from ..upstream.cluster import UpstreamCluster
from .formatting import Whereabouts
from .matchers import Regex
from .regex_rewrite import Finditer, python_finditer

Clusters = Mapping[str, UpstreamCluster]
Runtime = Mapping[str, float]
"""Runtime keys and what they say of fractions now, of 1."""


class Luck:
    """One roll for all the fractions that a request meets, as Envoy has one number for them."""

    __slots__ = ("_dice", "roll")

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self.roll = 0.0

    def again(self) -> None:
        self.roll = self._dice()


@dataclass(slots=True)
class Parts:
    """``max_stream_duration`` (seconds) and ``http_filters`` (without the router) are the
    listener's. ``service`` is what this member of the mesh is called; ``loop_lag`` as in
    :class:`Site`.
    """

    clusters: Clusters
    regex: Regex
    dice: Dice
    max_stream_duration: float | None = None
    _: KW_ONLY
    clock: Clock = float
    http_filters: tuple[HttpFilter, ...] = ()
    kept: Kept = field(default_factory=Kept)
    service: str = ""
    loop_lag: Callable[[], float] = float
    finditer: Finditer = python_finditer
    runtime: Runtime = field(default_factory=dict)
    whereabouts: Whereabouts = Whereabouts()
    tokens: Tokens | None = None
    luck: Luck = field(init=False)

    def __post_init__(self) -> None:
        self.luck = Luck(self.dice)

    def site(
        self, place: tuple[str, ...], *, cluster: str = "", rate_limits: tuple[RateLimit, ...] = ()
    ) -> Site:
        return Site(
            place=place,
            clock=self.clock,
            dice=self.dice,
            regex=self.regex,
            kept=self.kept,
            clusters=self.clusters,
            cluster=cluster,
            service=self.service,
            rate_limits=rate_limits,
            loop_lag=self.loop_lag,
            tokens=self.tokens,
        )
