"""Names that say who answers for them (gRFC A47)."""

import pytest

from meshlib.errors import ConfigError
from meshlib.testing.ads import AdsPair
from meshlib.xds.bootstrap import Bootstrap, Server
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

TYPE = "envoy.config.listener.v3.Listener"
THERE = f"xdstp://there/{TYPE}/a"
INSECURE = [{"type": "insecure"}]


@pytest.fixture
def federation(encoding: str) -> AdsPair:
    delta = encoding == "delta"
    here, there = (Server(server_uri=uri, delta=delta) for uri in ("here", "there"))
    return AdsPair(servers={None: (here,), "there": (there,), "same": (here,)})


def test_o6_each_name_is_asked_of_its_authority(federation, world) -> None:
    federation.watch("a", THERE)
    federation.connect()
    there = federation.at("there")
    there.connect()
    assert (federation.names(LISTENER), there.names(LISTENER)) == (("a",), (THERE,))
    there.respond(LISTENER, world.listener(THERE, "r"))
    assert there.names(ROUTE) == ()
    assert federation.names(ROUTE) == ("r",)


def test_o6_resources_of_several_authorities_are_one_snapshot(federation, world) -> None:
    federation.watch(THERE)
    there = federation.at("there")
    there.connect()
    there.respond(LISTENER, world.listener(THERE, world.table("inside", "x")))
    federation.connect()
    federation.respond(CLUSTER, world.cluster("x"))
    federation.respond(ENDPOINT, world.endpoints("x"))
    assert set(federation.snapshot.listeners) == {THERE}
    assert set(federation.snapshot.clusters) == {"x"}


def test_o6_a_reference_to_an_unknown_authority_fails_that_name_only(federation, world) -> None:
    nowhere = "xdstp://nowhere/envoy.config.cluster.v3.Cluster/c"
    federation.watch("a")
    federation.connect()
    federation.respond(LISTENER, world.listener("a", world.table("inside", "x", nowhere)))
    federation.respond(CLUSTER, world.cluster("x"))
    federation.respond(ENDPOINT, world.endpoints("x"))
    assert set(federation.snapshot.clusters) == {"x"}
    assert federation.reports == [f"{nowhere}: the bootstrap has no authority 'nowhere'"]


def test_o7_a_server_of_two_authorities_has_one_stream(federation) -> None:
    same = f"xdstp://same/{TYPE}/b"
    federation.watch("a", same)
    federation.connect()
    assert federation.opened == [0]
    assert federation.names(LISTENER) == ("a", same)


def test_an_authority_that_is_away_is_no_trouble_of_the_others(federation, world) -> None:
    federation.watch("a", THERE)
    federation.connect()
    federation.serve(world.chain("a", "x"))
    there = federation.at("there")
    there.open()
    there.close("refused")
    watches = federation.discovery.watches
    assert watches.connection_error_of("a") == ""
    assert watches.connection_error_of(THERE) == "refused"
    assert watches.connection_error == "refused"


def a_bootstrap(**more: object) -> Bootstrap:
    servers = [{"server_uri": "here", "channel_creds": INSECURE}]
    return Bootstrap.load({"xds_servers": servers, **more})


def test_o6_targets_become_names_by_the_default_template() -> None:
    made = a_bootstrap(
        client_default_listener_resource_name_template=f"xdstp://there/{TYPE}/v1/%s?b=2&a=1",
        authorities={"there": {}},
    )
    assert made.listener_of("x y:80") == f"xdstp://there/{TYPE}/v1/x%20y:80?a=1&b=2"
    assert made.listener_of(THERE) == THERE


def test_o6_an_old_style_template_is_filled_as_it_is_and_looks_at_no_authority() -> None:
    made = a_bootstrap(client_default_listener_resource_name_template="lds/%s")
    assert made.listener_of("x y:80") == "lds/x y:80"


def test_o6_targets_with_an_authority_have_its_template() -> None:
    template = f"xdstp://traffic/{TYPE}/grpc/%s"
    named = {"client_listener_resource_name_template": template}
    made = a_bootstrap(authorities={"traffic": named, "plain": {}})
    assert made.listener_of("xds://traffic/x:80") == f"xdstp://traffic/{TYPE}/grpc/x:80"
    assert made.listener_of("xds://plain/x:80") == f"xdstp://plain/{TYPE}/x:80"
    with pytest.raises(ConfigError, match="no authority 'other'"):
        made.listener_of("xds://other/x:80")


def test_an_authority_without_servers_is_answered_by_the_default_ones() -> None:
    own = {"xds_servers": [{"server_uri": "there", "channel_creds": INSECURE}]}
    made = a_bootstrap(authorities={"own": own, "none": {}})
    uris = {name: [s.server_uri for s in servers] for name, servers in made.servers.items()}
    assert uris == {None: ["here"], "own": ["there"], "none": ["here"]}


def test_a_template_must_be_of_its_authority() -> None:
    other = {"client_listener_resource_name_template": f"xdstp://b/{TYPE}/%s"}
    with pytest.raises(ConfigError, match=r"authorities\.a\.client_listener_resource_name_"):
        a_bootstrap(authorities={"a": other})


def test_c8_one_authority_falls_back_and_the_others_do_not(encoding, world) -> None:
    delta = encoding == "delta"
    one, two, there, spare = (
        Server(server_uri=uri, delta=delta) for uri in ("one", "two", "there", "spare")
    )
    both = AdsPair(servers={None: (one, two), "there": (there, spare)})
    both.watch("a", THERE)
    both.open()
    both.close("refused")
    second, theirs = both.at("two"), both.at("there")
    second.connect()
    theirs.connect()
    second.serve(world.chain("a", "x"))
    theirs.respond(LISTENER, world.listener(THERE, world.table("inside", "x")))
    assert set(both.snapshot.listeners) == {"a", THERE}
    assert both.at("spare").opened == []
    assert theirs.names(LISTENER) == (THERE,)
