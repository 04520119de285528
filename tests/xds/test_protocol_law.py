"""Whatever happens in whatever order, the client keeps the law of the protocol."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshlib.model import (
    Cluster,
    ClusterLoadAssignment,
    HttpConnectionManager,
    Listener,
    Rds,
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
    referenced_clusters,
)
from meshlib.testing.ads import AdsPair, Bad
from meshlib.xds.responses import RawResource, ResourceError
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

NAMES = st.sampled_from("abc")
TYPES = st.sampled_from([LISTENER, ROUTE, CLUSTER, ENDPOINT])


def a_resource(type_url: str, name: str, to: str) -> object:
    if type_url == LISTENER:
        return Listener(name=name, http=HttpConnectionManager(routes=Rds(to)))
    if type_url == ROUTE:
        routes = tuple(Route(action=RouteAction(cluster=cluster)) for cluster in {name, to})
        host = VirtualHost(name="all", domains=("*",), routes=routes)
        return RouteConfiguration(name=name, virtual_hosts=(host,))
    if type_url == CLUSTER:
        return Cluster(name=name, connect_timeout=float(ord(to)))
    return ClusterLoadAssignment(cluster_name=name, overprovisioning_factor=100 + ord(to))


class Conversation(RuleBasedStateMachine):
    """:class:`AdsPair` asserts the law at each request; here it meets every interleaving."""

    delta = False

    def __init__(self) -> None:
        super().__init__()
        self.pair = AdsPair(delta=self.delta)
        self.versions = 0
        self.responses = 0
        self.served: set[str] = set()
        self.clusters: set[str] = set()

    @rule(name=NAMES)
    def watch(self, name: str) -> None:
        self.pair.watch(name)

    @precondition(lambda self: self.pair.wants_stream)
    @rule()
    def open(self) -> None:
        self.pair.open()

    @precondition(lambda self: self.pair.is_open)
    @rule()
    def connect(self) -> None:
        self.pair.connect()

    @precondition(lambda self: self.pair.is_open)
    @rule(reason=st.sampled_from(["refused", "reset"]))
    def close(self, reason: str) -> None:
        self.pair.close(reason)

    @rule(seconds=st.sampled_from([0.5, 3, 20]))
    def wait(self, seconds: float) -> None:
        self.pair.jump(seconds)

    @precondition(lambda self: self.pair.is_open)
    @rule(
        type_url=TYPES,
        good=st.lists(st.tuples(NAMES, NAMES), max_size=4),
        bad=st.lists(st.sampled_from(["a", "b", ""]), max_size=1),
        failed=st.lists(st.tuples(NAMES, st.sampled_from([5, 7, 14])), max_size=1),
        heartbeats=st.lists(NAMES, max_size=1),
        removed=st.lists(NAMES, max_size=1),
    )
    def respond(self, type_url, good, bad, failed, heartbeats, removed) -> None:
        if not self.pair.names(type_url):
            return
        self.versions += 1
        self.responses += 1
        self.pair.respond(
            type_url,
            *(a_resource(type_url, name, to) for name, to in good),
            *map(Bad, bad),
            *(RawResource("", None, name=name) for name in heartbeats),
            version=str(self.versions),
            errors=[ResourceError(name, code) for name, code in failed],
            removed=removed if self.delta else (),
        )

    @invariant()
    def each_response_has_exactly_one_answer(self) -> None:
        assert not self.pair.law.unanswered()
        assert len(self.pair.law.answers) == self.responses

    @invariant()
    def a_client_that_wants_something_has_a_stream_or_waits_for_one(self) -> None:
        wanted = bool(self.pair.names(LISTENER))
        waits = self.pair.wants_stream or self.pair.discovery.deadline() is not None
        assert not wanted or self.pair.is_open or waits

    @invariant()
    def the_snapshot_is_whole(self) -> None:
        snapshot = self.pair.snapshot
        for listener in snapshot.listeners.values():
            assert listener.route_config_name in snapshot.routes
        named = {n for table in snapshot.routes.values() for _, n in referenced_clusters(table)}
        assert self.clusters & named <= set(snapshot.clusters), "a cluster in use was lost"
        self.clusters = set(snapshot.clusters)
        for name in named - self.clusters:
            parts = [self.pair.discovery.watches.get(url, name) for url in (CLUSTER, ENDPOINT)]
            assert not all(part is not None and part.resource for part in parts), "is usable"

    @invariant()
    def a_listener_that_serves_is_never_lost(self) -> None:
        now = set(self.pair.snapshot.listeners)
        assert self.served <= now
        self.served = now


class DeltaConversation(Conversation):
    delta = True


SETTINGS = settings(max_examples=120, stateful_step_count=40, deadline=None, derandomize=True)
Conversation.TestCase.settings = DeltaConversation.TestCase.settings = SETTINGS
TestConversation = Conversation.TestCase
TestDeltaConversation = DeltaConversation.TestCase
