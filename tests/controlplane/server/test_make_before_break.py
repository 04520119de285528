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
