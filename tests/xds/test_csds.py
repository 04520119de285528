"""What those hear who ask over CSDS, as grpcdebug does (gRFC A40, A88)."""

import pytest

from meshlib.xds.bootstrap import Node
from meshlib.xds.csds import STATUS, Client, answer
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER
from meshlib.xds.watches import Entry, ResourceState

STARTED = 1_700_000_000.0


def told(*entries):
    node = Node(id="me", cluster="ours", metadata={"A": "b"}, locality={"zone": "z"})
    client = Client(node=node, entries=entries, scope="ratings")
    said = answer(b"", (client,), lambda reading: STARTED + reading)
    (config,) = message_class(f"{STATUS}.ClientStatusResponse").FromString(said).config
    return config


def entry(**facts):
    return Entry(type_url=CLUSTER, name="x", **facts)


def state_of(one):
    values = one.DESCRIPTOR.fields_by_name["client_status"].enum_type.values_by_number
    return values[one.client_status].name


def test_the_node_is_told_as_control_planes_hear_it() -> None:
    config = told()
    assert (config.node.id, config.node.cluster) == ("me", "ours")
    assert (config.node.metadata["A"], config.node.locality.zone) == ("b", "z")
    assert config.node.user_agent_name == "meshlib"
    assert config.client_scope == "ratings"


def test_what_is_accepted_has_version_time_and_contents(world) -> None:
    made = entry(state=ResourceState.ACKED, resource=world.cluster("x"), version="7", updated=5.0)
    (one,) = told(made).generic_xds_configs
    assert (one.type_url, one.name, one.version_info) == (CLUSTER, "x", "7")
    assert one.last_updated.ToSeconds() == STARTED + 5
    assert one.xds_config.type_url == CLUSTER
    assert not one.HasField("error_state")


def test_a_refusal_is_told_with_reason_version_and_time_beside_what_is_kept(world) -> None:
    made = entry(
        state=ResourceState.NACKED,
        resource=world.cluster("x"),
        version="7",
        updated=5.0,
        error="clusters/x: lb_policy: is odd",
        rejected_version="8",
        rejected_at=9.0,
    )
    (one,) = told(made).generic_xds_configs
    assert (state_of(one), one.version_info) == ("NACKED", "7")
    assert one.HasField("xds_config")
    assert one.error_state.details == "clusters/x: lb_policy: is odd"
    assert one.error_state.version_info == "8"
    assert one.error_state.last_update_attempt.ToSeconds() == STARTED + 9


@pytest.mark.parametrize("state", ResourceState)
def test_n11_every_state_of_the_cache_has_a_name_there(state) -> None:
    (one,) = told(
        entry(state=state, error="" if state == "REQUESTED" else "why")
    ).generic_xds_configs
    assert state_of(one) == state.value
    assert (one.version_info, one.HasField("xds_config")) == ("", False)
