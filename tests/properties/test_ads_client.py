"""The ADS client beside a small model of it, in both encodings at once: they must all agree."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    HttpConnectionManager,
    Listener,
    Rds,
    Route,
    RouteAction,
    RouteConfiguration,
    Snapshot,
    VirtualHost,
    referenced_clusters,
)
from meshlib.testing.ads import AdsPair, Bad, rooms
from meshlib.xds.ads import COMPLETE_TYPES
from meshlib.xds.responses import RawResource, ResourceError
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshlib.xds.watches import NOT_FOUND, PERMISSION_DENIED, ResourceState

TYPES = (LISTENER, ROUTE, CLUSTER, ENDPOINT)
ANSWERED = (ResourceState.ACKED, ResourceState.NACKED)
TIMEOUT = 15.0
MAKERS: dict[str, Callable[[str, str], Any]] = {
    LISTENER: lambda name, to: Listener(name=name, http=HttpConnectionManager(routes=Rds(to))),
    ROUTE: lambda name, to: table(name, sorted({name, to})),
    CLUSTER: lambda name, to: Cluster(name=name, connect_timeout=float(ord(to))),
    ENDPOINT: lambda name, to: ClusterLoadAssignment(
        cluster_name=name, overprovisioning_factor=100 + ord(to)
    ),
}


def table(name: str, clusters: list[str]) -> RouteConfiguration:
    routes = tuple(Route(action=RouteAction(cluster=cluster)) for cluster in clusters)
    host = VirtualHost(name="all", domains=("*",), routes=routes)
    return RouteConfiguration(name=name, virtual_hosts=(host,))


@dataclass(frozen=True)
class Fact:
    """What the server says of one resource: ``kind`` is good, bad, twice, beat or error."""

    kind: str
    to: str = "a"
    ttl: float | None = None
    code: int = NOT_FOUND


@dataclass
class Known:
    """What a client should know of one resource."""

    state: ResourceState = ResourceState.REQUESTED
    resource: Any = None
    failed: bool = False
    expires: float | None = None
    due: float | None = None


@dataclass
class Model:
    """The rules of xDS about one cache, as plainly as they can be said."""

    drops: bool
    known: dict[tuple[str, str], Known] = field(default_factory=dict)

    def ask(self, wanted: set[tuple[str, str]], now: float, *, connected: bool) -> None:
        self.known = {key: self.known.get(key, Known()) for key in sorted(wanted)}
        for each in self.known.values():
            unheard = each.resource is None and each.state is ResourceState.REQUESTED
            if not connected or not unheard:
                each.due = None
            elif each.due is None:
                each.due = now + TIMEOUT

    def hear(self, key: tuple[str, str], fact: Fact, now: float) -> None:
        each = self.known[key]
        expires = None if fact.ttl is None else now + fact.ttl
        if fact.kind == "good":
            self.known[key] = Known(ResourceState.ACKED, MAKERS[key[0]](key[1], fact.to))
            self.known[key].expires = expires
        elif fact.kind == "beat":
            each.expires = expires if each.resource is not None else None
        elif fact.kind == "error":
            missing = fact.code == NOT_FOUND
            state = ResourceState.DOES_NOT_EXIST if missing else ResourceState.RECEIVED_ERROR
            self.fail(each, state, passing=fact.code not in (NOT_FOUND, PERMISSION_DENIED))
        else:
            self.fail(each, ResourceState.NACKED)

    def fail(self, each: Known, state: ResourceState, *, passing: bool = False) -> None:
        each.state, each.failed, each.due = state, True, None
        if self.drops and not passing:
            each.resource = each.expires = None

    def pass_time(self, now: float) -> None:
        for each in self.known.values():
            if each.due is not None and each.due <= now:
                self.fail(each, ResourceState.DOES_NOT_EXIST)
            if each.expires is not None and each.expires <= now:
                each.resource = each.expires = None
                self.fail(each, ResourceState.DOES_NOT_EXIST)


NAMES = st.sampled_from("abc")
GOOD = st.builds(Fact, st.just("good"), NAMES, st.sampled_from([None, None, 4.0, 40.0]))
BROKEN = st.builds(
    Fact,
    st.sampled_from(["bad", "twice", "beat", "error"]),
    NAMES,
    st.sampled_from([None, 9.0]),
    st.sampled_from([NOT_FOUND, PERMISSION_DENIED, 14]),
)
FACTS = st.tuples(*(st.none() | GOOD | BROKEN for _ in range(3))).map(
    lambda facts: {name: fact for name, fact in zip("abc", facts, strict=True) if fact}
)


class Lockstep(RuleBasedStateMachine):
    """Two clients are told the same, one in each encoding."""

    features: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.pairs = [
            AdsPair(delta=delta, server_features=self.features) for delta in (False, True)
        ]
        self.model = Model(drops="fail_on_data_errors" in self.features)
        self.responses = self.versions = 0
        self.connected = False

    @property
    def sotw(self) -> AdsPair:
        return self.pairs[0]

    @property
    def asked(self) -> set[tuple[str, str]]:
        return {(type_url, name) for type_url in TYPES for name in self.sotw.names(type_url)}

    # What happens

    @initialize(names=st.sets(NAMES))
    def begin(self, names: set[str]) -> None:
        """Most of what there is to see comes after the first connection."""
        for name in sorted(names):
            self.watch(name)
        if names:
            self.open()
            self.connect()

    @rule(name=NAMES)
    def watch(self, name: str) -> None:
        for pair in self.pairs:
            pair.watch(name)

    @precondition(lambda self: self.sotw.wants_stream)
    @rule()
    def open(self) -> None:
        for pair in self.pairs:
            pair.open()

    @precondition(lambda self: self.sotw.is_open)
    @rule()
    def connect(self) -> None:
        for pair in self.pairs:
            pair.connect()
        self.connected = True

    @precondition(lambda self: self.sotw.is_open)
    @rule(reason=st.sampled_from(["refused", "reset"]))
    def close(self, reason: str) -> None:
        for pair in self.pairs:
            pair.close(reason)
        self.connected = False

    @rule(seconds=st.sampled_from([0.5, 3.0, 20.0]))
    def wait(self, seconds: float) -> None:
        """In steps, as what time brings may change what is asked."""
        end = self.sotw.now + seconds
        while (due := self.sotw.discovery.deadline()) is not None and due <= end:
            self.step(max(0.0, due - self.sotw.now))
        self.step(end - self.sotw.now)

    def step(self, seconds: float) -> None:
        for pair in self.pairs:
            pair.jump(seconds)
        self.model.pass_time(self.sotw.now)
        self.agree()

    @precondition(lambda self: self.connected)
    @rule(type_url=st.sampled_from(TYPES), facts=FACTS, wrapped=st.booleans(), again=st.booleans())
    def tell(self, type_url: str, facts: dict[str, Fact], wrapped: bool, again: bool) -> None:
        for _ in range(1 + again):
            if self.sotw.names(type_url):
                self.say(type_url, facts, wrapped=wrapped)
                self.agree()

    @precondition(lambda self: self.sotw.is_open)
    @rule()
    def tell_what_nobody_knows(self) -> None:
        for pair in self.pairs:
            pair.respond("type.googleapis.com/envoy.Unheard", Bad("a"))

    @precondition(lambda self: self.connected)
    @rule(to=NAMES)
    def recover(self, to: str) -> None:
        """Everything is there and good: the client ends on all of that, and on nothing else."""
        facts = {name: Fact("good", to) for name in "abc"}
        for _ in range(4):
            for type_url in TYPES:
                if self.sotw.names(type_url):
                    self.say(type_url, facts, wrapped=False)
                    self.agree()
        self.is_served(to)

    def is_served(self, to: str) -> None:
        watched = self.sotw.names(LISTENER)
        listeners = {name: MAKERS[LISTENER](name, to) for name in watched}
        routes = {to: MAKERS[ROUTE](to, to)} if watched else {}
        clusters = {to: MAKERS[CLUSTER](to, to)} if watched else {}
        endpoints = {to: MAKERS[ENDPOINT](to, to)} if watched else {}
        served = Snapshot(
            listeners=listeners, routes=routes, clusters=clusters, endpoints=endpoints
        )
        assert rooms(self.sotw.snapshot) == rooms(served)

    def say(self, type_url: str, facts: dict[str, Fact], *, wrapped: bool) -> None:
        """Names without a fact are gone, where that can be told; else nothing is said of them."""
        now, names = self.sotw.now, set(self.sotw.names(type_url))
        told = {n for n in names if self.model.known[type_url, n].state in ANSWERED}
        gone = told - facts.keys() if type_url in COMPLETE_TYPES else set()
        self.versions += 1
        self.responses += 1
        for pair in self.pairs:
            pair.respond(
                type_url,
                *self.resources(pair, type_url, facts, wrapped=wrapped),
                version=str(self.versions),
                errors=[ResourceError(n, f.code) for n, f in facts.items() if f.kind == "error"],
                removed=sorted(gone) if pair is not self.sotw else (),
            )
        for name in names & facts.keys():
            self.model.hear((type_url, name), facts[name], now)
        for name in names & gone:
            self.model.fail(self.model.known[type_url, name], ResourceState.DOES_NOT_EXIST)

    def resources(
        self, pair: AdsPair, type_url: str, facts: dict[str, Fact], *, wrapped: bool
    ) -> list[RawResource]:
        resources: list[RawResource] = []
        version = str(self.versions) if pair is not self.sotw else ""
        for name, fact in facts.items():
            told = name if wrapped or version or fact.ttl is not None else ""
            value = Bad(name) if fact.kind == "bad" else MAKERS[type_url](name, fact.to)
            packed = pair.tokens.pack(type_url, value, name=told, version=version)
            token = None if fact.kind == "beat" else packed.value
            packed = RawResource(
                type_url, token, told or (name if token is None else ""), fact.ttl, version
            )
            resources += [packed] * {"error": 0, "twice": 2}.get(fact.kind, 1)
        return resources

    # What must hold

    @invariant()
    def agree(self) -> None:
        self.model.ask(self.asked, self.sotw.now, connected=self.connected)
        first, second = map(cache_of, self.pairs)
        assert first == second
        assert self.sotw.snapshot == self.pairs[1].snapshot
        assert self.sotw.absent == self.pairs[1].absent
        known = {
            key: (each.state, each.resource, each.failed, each.expires)
            for key, each in self.model.known.items()
        }
        assert known == {k: (e[0], e[1], bool(e[2]), e[4]) for k, e in first.items()}

    @invariant()
    def both_want_the_same(self) -> None:
        sotw, delta = self.pairs
        assert sotw.wants_stream == delta.wants_stream
        assert sotw.discovery.deadline() == delta.discovery.deadline()
        for type_url in TYPES:
            assert set(sotw.names(type_url)) == set(delta.names(type_url))

    @invariant()
    def the_law_holds(self) -> None:
        for pair in self.pairs:
            pair.law.uphold()
            assert not pair.law.unanswered()
            assert len(pair.law.answers) == self.responses

    @invariant()
    def what_serves_is_whole(self) -> None:
        snapshot = self.sotw.snapshot
        for listener in snapshot.listeners.values():
            assert listener.route_config_name in snapshot.routes
        named = {n for each in snapshot.routes.values() for _, n in referenced_clusters(each)}
        assert snapshot.clusters.keys() <= named
        assert snapshot.endpoints.keys() <= snapshot.clusters.keys()


def cache_of(pair: AdsPair) -> dict[tuple[str, str], tuple[Any, ...]]:
    entries = pair.discovery.watches.entries()
    return {
        (e.type_url, e.name): (e.state, e.resource, e.error, e.transient, e.expires)
        for e in entries
    }


class LockstepThatDrops(Lockstep):
    features = ("fail_on_data_errors",)


SETTINGS = settings(max_examples=90, stateful_step_count=30, deadline=None, derandomize=True)
Lockstep.TestCase.settings = LockstepThatDrops.TestCase.settings = SETTINGS
TestLockstep = Lockstep.TestCase
TestLockstepThatDrops = LockstepThatDrops.TestCase


def test_a_heartbeat_for_what_was_never_sent_is_no_answer() -> None:
    pair = AdsPair()
    pair.watch("a")
    pair.connect()
    pair.respond(LISTENER, RawResource("", None, name="a", ttl=60.0))
    pair.jump(TIMEOUT)
    entry = pair.discovery.watches.get(LISTENER, "a")
    assert entry is not None
    assert entry.state is ResourceState.DOES_NOT_EXIST
    assert entry.expires is None


def test_what_the_server_disowned_has_no_time_left_to_live() -> None:
    pair = AdsPair(server_features=["fail_on_data_errors"])
    pair.watch("a")
    pair.connect()
    token = pair.tokens.pack(LISTENER, MAKERS[LISTENER]("a", "a"))
    pair.respond(LISTENER, RawResource(LISTENER, token.value, name="a", ttl=60.0))
    pair.respond(LISTENER, Bad("a", "is odd"), version="2")
    pair.jump(60.0)
    entry = pair.discovery.watches.get(LISTENER, "a")
    assert entry is not None
    assert "is odd" in entry.error
