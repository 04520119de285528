"""Whatever is edited and however slowly a client answers, it never lacks what it uses."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from meshlib.controlplane.discovery import DeltaRequest, Request
from meshlib.controlplane.subscriptions import Subscriptions
from meshlib.controlplane.versions import PackedResource, PackedSnapshot, PackedType
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

TABLES = ("r", "s")
CLUSTERS = st.sampled_from("abcd")
# A world says to which cluster each table leads; a table's content is that cluster's name.
WORLDS = st.fixed_dictionaries(dict.fromkeys(TABLES, CLUSTERS))


def packed(world, generation):
    kinds = {
        CLUSTER: dict.fromkeys(world.values(), "1"),
        ENDPOINT: {},
        LISTENER: {},
        ROUTE: world,
    }
    return PackedSnapshot(
        str(generation),
        {
            url: PackedType(
                str(generation),
                {name: PackedResource(url, name, content, None) for name, content in of.items()},
            )
            for url, of in kinds.items()
        },
    )


class EnvoyLike:
    """Takes in what it is sent, in order, and answers when it is told to."""

    def __init__(self, subscriptions):
        self._subscriptions = subscriptions
        self._unanswered = []
        self.clusters = set()
        self.tables = {}
        for url, names in ((CLUSTER, ()), (ROUTE, TABLES)):
            subscriptions.receive(
                DeltaRequest(type_url=url, subscribe=names)
                if subscriptions.delta
                else Request(type_url=url, names=names)
            )

    def read(self):
        while (response := self._subscriptions.next_response()) is not None:
            names = {resource.name for resource in response.resources}
            if response.type_url == ROUTE:
                self.tables |= {r.name: r.version for r in response.resources}
            elif self._subscriptions.delta:
                self.clusters = (self.clusters | names) - set(response.removed)
            else:
                self.clusters = names
            self._unanswered.append(response)
            assert set(self.tables.values()) <= self.clusters

    def answer(self):
        if not self._unanswered:
            return False
        response = self._unanswered.pop(0)
        names = TABLES if response.type_url == ROUTE else ()
        self._subscriptions.receive(
            DeltaRequest(type_url=response.type_url, nonce=response.nonce)
            if self._subscriptions.delta
            else Request(type_url=response.type_url, names=names, nonce=response.nonce)
        )
        return True


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@given(events=st.lists(st.one_of(WORLDS, st.none()), max_size=30))
def test_routes_never_lead_to_a_cluster_that_the_client_lacks(delta, events):
    subscriptions = Subscriptions(delta=delta)
    world = {"r": "a", "s": "a"}
    subscriptions.publish(packed(world, 0))
    client = EnvoyLike(subscriptions)
    client.read()
    for generation, event in enumerate(events, 1):
        if event is None:
            client.answer()
        else:
            world = event
            subscriptions.publish(packed(world, generation))
        client.read()
    while client.answer():
        client.read()
    assert client.tables == world
    assert client.clusters == set(world.values())


def test_a_client_that_warms_clusters_gets_the_endpoints_of_those_that_changed_again(talk):
    talk.subscriptions = Subscriptions(warms=True)
    talk.publish(cds="a@1 b@1", eds="a@1 b@1")
    talk.ask("cds")
    assert talk.pull() == ["cds a@1 b@1"]
    talk.accept("cds")
    talk.ask("eds", "a", "b")
    assert talk.pull() == ["eds a@1 b@1"]
    talk.accept("eds")
    talk.publish("2", cds="a@2 b@1", eds="a@1 b@1")
    assert talk.pull() == ["cds a@2 b@1", "eds a@1"]


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_a_cluster_that_the_client_still_names_is_taken_away_when_it_has_had_time(delta):
    allowed = set()
    client = Named(Subscriptions(delta=delta, may_part=allowed.__contains__))
    client.world({"r": "a", "s": "b"}, wants="ab")
    client.world({"r": "a", "s": "a"}, wants="ab")
    assert client.clusters == {"a", "b"}
    allowed.add("b")
    client.settle()
    assert client.clusters == {"a"}


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_a_cluster_that_the_client_gives_up_needs_no_time(delta):
    client = Named(Subscriptions(delta=delta, may_part=frozenset().__contains__))
    client.world({"r": "a", "s": "b"}, wants="ab")
    client.world({"r": "a", "s": "a"}, wants="ab")
    client.want("a")
    assert not client.subscriptions.is_due


class Named:
    """A client such as gRPC: asks for clusters by their names."""

    def __init__(self, subscriptions):
        self.subscriptions = subscriptions
        self.clusters, self._wanted, self._generation = set(), set(), 0

    def world(self, world, wants):
        self._generation += 1
        self.subscriptions.publish(packed(world, self._generation))
        if self._generation == 1:
            self._say(ROUTE, set(TABLES), set())
        self.want(wants)

    def want(self, wants):
        before, self._wanted = self._wanted, set(wants)
        if self._wanted != before:
            self._say(CLUSTER, self._wanted - before, before - self._wanted)
        self.settle()

    def settle(self):
        while (response := self.subscriptions.next_response()) is not None:
            if response.type_url == CLUSTER:
                names = {resource.name for resource in response.resources}
                kept = self.clusters - set(response.removed) if self.subscriptions.delta else set()
                self.clusters = kept | names
            self._say(response.type_url, set(), set(), response.nonce)

    def _say(self, url, more, less, nonce=""):
        wanted = set(TABLES) if url == ROUTE else self._wanted
        self.subscriptions.receive(
            DeltaRequest(type_url=url, subscribe=tuple(more), unsubscribe=tuple(less), nonce=nonce)
            if self.subscriptions.delta
            else Request(
                type_url=url,
                names=tuple(sorted(wanted)),
                nonce=nonce or self._last(url),
            )
        )

    def _last(self, url):
        state = self.subscriptions.types.get(url)
        return "" if state is None else state.nonce
