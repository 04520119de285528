"""One route, with everything looked up and compiled that a call needs."""

from typing import TYPE_CHECKING

from ...clock import Dice
from ...errors import ConfigError, Problem
from ...model import ClusterHeader, Route, RouteAction, RouteConfiguration, VirtualHost
from ...model.format import FormatError
from ..deadline import route_timeout
from ..filters.terms import Terms
from ..message import Request
from ..upstream.retry import RetryRule
from .conditions import VirtualClusters, conditions
from .destination import Chooser, Destination, LiveMirror, Place, choices, chooser
from .hash_policy import HashPolicies
from .header_levels import response_levels
from .local_answer import LocalAnswer, compile_answer
from .matchers import path_rule, path_test
from .parts import Parts
from .rewrite import Respond

if TYPE_CHECKING:
    from ..events import CallRecord


class LiveRoute:
    """``answer`` is for calls that no destination takes; ``hash_key`` for those that a ring or a
    table balances: call it once a call, since it may make a cookie. ``terms`` are for attempts.
    ``attempt_counts``: shall the request, shall the response tell of the attempts? ``position`` is
    that among the routes of the host.
    """

    __slots__ = (
        "_chooser",
        "_hash",
        "_virtual_clusters",
        "answer",
        "attempt_counts",
        "auto_host_rewrite",
        "conditions",
        "config",
        "destinations",
        "filter_names",
        "filters",
        "forward",
        "hashes",
        "hedge",
        "is_high",
        "matches_path",
        "mirrors",
        "only_destination",
        "retry",
        "source",
        "terms",
        "timeouts",
        "virtual_host",
    )

    def __init__(
        self,
        config: Route,
        host: VirtualHost,
        table: RouteConfiguration,
        parts: Parts,
        virtual_clusters: VirtualClusters | None = None,
        position: int = 0,
    ) -> None:
        self.config = config
        self.virtual_host = host.name
        self.source = config.metadata.source or f"{table.name}/{host.name}/{config.name}"
        self.matches_path = path_test(config.match, parts.regex)
        self.conditions = conditions(config.match, parts)
        self.forward = config.action if isinstance(config.action, RouteAction) else None
        self.attempt_counts = (
            host.include_request_attempt_count,
            host.include_attempt_count_in_response,
        )
        self._virtual_clusters = virtual_clusters
        place = Place(config, host, table, parts, position)
        self._set_policies(self.forward or RouteAction(cluster=""), place)
        try:
            self._lead(self.forward, place)
        except FormatError as error:
            raise ConfigError(Problem(place.field, str(error))) from None
        self.terms = Terms.of(self)

    def _set_policies(self, action: RouteAction, place: Place) -> None:
        host, parts = place.host, place.parts
        policy = action.retry_policy or host.retry_policy
        self.retry = RetryRule(policy, parts.regex) if policy is not None else None
        stream = parts.max_stream_duration
        self.timeouts = (
            route_timeout(action, is_grpc=False, streaming=False, listener=stream),
            route_timeout(action, is_grpc=True, streaming=False, listener=stream),
            route_timeout(action, is_grpc=True, streaming=True, listener=stream),
        )
        self.hedge = action.hedge_policy or host.hedge_policy
        self.is_high = action.priority == "high"
        self.auto_host_rewrite = action.auto_host_rewrite
        mirrored = (
            action.request_mirror_policies
            or host.request_mirror_policies
            or place.table.request_mirror_policies
        )
        self.mirrors = tuple(LiveMirror(m, parts.clusters.get(m.cluster)) for m in mirrored)
        self._hash = HashPolicies(action.hash_policy, place.table.name, parts)
        self.hashes = bool(action.hash_policy)

    def _lead(self, action: RouteAction | None, place: Place) -> None:
        self.destinations: tuple[Destination, ...] = ()
        self._chooser: Chooser | None = None
        if action is not None:
            self.destinations = tuple(Destination(c, action, place) for c in choices(action))
            if len(self.destinations) > 1 or isinstance(action.cluster, ClusterHeader):
                self._chooser = chooser(action, self.destinations, place)
        lone = len(self.destinations) == 1
        self.only_destination: Destination | None = self.destinations[0] if lone else None
        filters = place.filters() if action is None else ()
        self.filters = tuple(made for _, made in filters)
        self.filter_names = tuple(name for name, _ in filters)
        respond = Respond(response_levels(place.levels, place.parts.whereabouts))
        self.answer: LocalAnswer = compile_answer(place.config, respond, place.parts)

    def mismatch(self, request: Request) -> str | None:
        """The first condition besides the path that does not hold, or ``None``."""
        for condition in self.conditions:
            if not condition.test(request):
                return condition.rule
        return None

    def choose(
        self, dice: Dice, request: Request, record: "CallRecord | None" = None
    ) -> Destination | None:
        """One choice a call: the same destination for all of its attempts; ``None``: nowhere."""
        if self._chooser is None:
            return self.only_destination
        return self._chooser(dice, request, record)

    def hash_key(self, request: Request, record: "CallRecord | None" = None) -> int | None:
        """``None``: no policy had anything to say."""
        return self._hash(request, record)

    def virtual_cluster(self, request: Request) -> str:
        """A name for calls like this one; "" where the host names none."""
        return "" if self._virtual_clusters is None else self._virtual_clusters(request)

    def timeout(self, request: Request) -> float | None:
        if not request.is_grpc:
            return self.timeouts[0]
        return self.timeouts[2] if request.streaming else self.timeouts[1]

    @property
    def rule(self) -> str:
        """The conditions in words."""
        return " and ".join((path_rule(self.config.match), *(c.rule for c in self.conditions)))
