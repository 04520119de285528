"""Who calls, and who is called, as metrics name them."""

from base64 import b64decode, b64encode
from collections import deque
from dataclasses import replace

import pytest
from google.protobuf.struct_pb2 import Struct as Said
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.dataplane import (
    CallEnded,
    CallRecord,
    Connection,
    Meter,
    Peer,
    Request,
    Response,
    UpstreamEndpoint,
)
from meshlib.dataplane.introduction import LONGEST, PEER, PEER_METADATA
from meshlib.middleware._grpc_introduction import listen
from meshlib.model import Address, Endpoint, Metadata, Struct
from meshlib.model.workload import facts_of, packed, packed_whole, unpacked
from meshlib.telemetry.audience import Audience
from meshlib.telemetry.observer import Telemetry
from meshlib.telemetry.peers import CALLS, DISTINCT, STRANGERS, UNKNOWN, PeerFacts, Peers
from meshlib.xds.codec.peer_metadata import decode_peer, encode_peer

REVIEWS = PeerFacts(
    workload="reviews-v2",
    namespace="default",
    canonical_service="reviews",
    canonical_revision="v2",
    app="reviews",
    version="v2",
    cluster="Kubernetes",
)
ID = "spiffe://cluster.local/ns/default/sa/reviews"


def inbound(said, *, principal="", secure=True):
    connection = Connection(peer=Peer(secure=secure, spiffe_id=principal)) if principal else None
    request = Request("", "GET", "/", meter=Meter(peer=said))
    if connection is not None:
        request.connection = connection
    return CallRecord(request, 0.0, inbound=True)


def outbound(told=None, *, principal="", is_grpc=False):
    meter = Meter(server_principal=principal)
    request = Request("reviews:80", "GET", "/", is_grpc=is_grpc, meter=meter)
    metadata = Metadata()
    if told is not None:
        metadata = Metadata((("istio", Struct((("workload", told),))),))
    config = Endpoint(address=Address("10.0.0.1", 80), metadata=metadata)
    endpoint = UpstreamEndpoint(config, http2=False, connect_timeout=1.0)
    return CallRecord(request, 0.0, endpoint=endpoint)


def peers(**options):
    return Peers(REVIEWS, decode=decode_peer, **options)


# --- names ---


def test_an_introduction_survives_the_wire():
    assert decode_peer(encode_peer(REVIEWS, "reviews-v2-abc")) == REVIEWS


def test_the_same_workload_introduces_itself_in_the_same_octets():
    assert encode_peer(REVIEWS, "a") == encode_peer(replace(REVIEWS), "a")


def test_padding_may_be_missing_as_some_proxies_leave_it_out():
    assert decode_peer(encode_peer(REVIEWS, "reviews-v2-abc").rstrip("=")) == REVIEWS


@pytest.mark.parametrize(
    "text", ["", "%%%", "AAAA", "é", "A", "=" * 9, "Cg==", "A" * 5000, encode_peer(UNKNOWN, "")[:9]]
)
def test_what_is_malformed_says_nothing(text):
    assert decode_peer(text) in (None, UNKNOWN)


def test_what_proxies_say_besides_is_passed_over():
    said = Said()
    said.update(
        {
            "APP_CONTAINERS": "reviews",
            "INSTANCE_IPS": "10.0.0.9,fe80::1",
            "LABELS": {"app": "reviews", "pod-template-hash": "5f9", "version": "v2"},
            "MESH_ID": "cluster.local",
            "NAME": "reviews-v2-5f9-x",
            "NAMESPACE": "default",
            "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v2",
            "WORKLOAD_NAME": "reviews-v2",
        }
    )
    found = decode_peer(b64encode(said.SerializeToString()).decode())
    assert found == PeerFacts(
        workload="reviews-v2",
        namespace="default",
        canonical_service="reviews-v2",
        canonical_revision="latest",
        app="reviews",
        version="v2",
    )


def test_values_of_other_kinds_say_nothing():
    said = Said()
    said.update({"LABELS": "app", "NAMESPACE": 7, "WORKLOAD_NAME": ["reviews"]})
    found = decode_peer(b64encode(said.SerializeToString()).decode())
    assert found == replace(UNKNOWN, canonical_revision="latest")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_nothing_that_anybody_sends_breaks_a_call(octets):
    for text in (octets.decode("latin-1"), b64encode(octets).decode()):
        for is_grpc in (False, True):
            record = inbound(text)
            record.request.is_grpc = is_grpc
            peers().source_of(record)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60), st.integers(0, 200))
def test_an_introduction_with_octets_changed_breaks_no_call(octets, place):
    good = b64decode(encode_peer(REVIEWS, "i"))
    changed = good[:place] + octets + good[place + len(octets) :]
    found = decode_peer(b64encode(changed).decode())
    assert found is None or len(found.workload) <= 100


def test_what_istiod_tells_of_an_endpoint_is_understood():
    assert unpacked("reviews-v2;default;reviews;v2;Kubernetes") == REVIEWS


def test_istiod_leaves_out_the_default_revision():
    found = unpacked("ratings-v1;default;ratings;;Kubernetes")
    assert found is not None
    assert (found.canonical_revision, found.version) == ("latest", "unknown")


@pytest.mark.parametrize("text", ["", ";;;;", "reviews", "a;b;c;d"])
def test_an_endpoint_of_which_nothing_is_told_is_unknown(text):
    assert unpacked(text) is None


def test_what_is_told_of_an_endpoint_is_read_as_it_was_written():
    assert unpacked(packed(REVIEWS)) == REVIEWS


def test_the_labels_name_a_workload_as_in_istio():
    labels = {"app": "a", "app.kubernetes.io/name": "n", "version": "2"}
    found = facts_of(labels, workload="w", namespace="x", cluster="c")
    assert (found.workload, found.canonical_service, found.canonical_revision) == ("w", "n", "2")
    labels |= {"service.istio.io/canonical-name": "c", "service.istio.io/workload-name": "named"}
    found = facts_of(labels, workload="w", namespace="x", cluster="c")
    assert (found.workload, found.canonical_service, found.app) == ("named", "c", "a")


def test_a_long_name_is_cut_and_an_unprintable_one_is_unknown():
    found = facts_of({"app": "a" * 500, "version": "\n"}, workload="w", namespace="x", cluster="c")
    assert (found.app, found.version) == ("a" * 100, "unknown")


# --- who it was ---


def test_a_caller_is_who_it_says_and_proves():
    found = peers().source_of(inbound(encode_peer(REVIEWS, "i"), principal=ID))
    assert found == replace(REVIEWS, principal=ID)


def test_a_principal_that_is_not_proven_does_not_count():
    found = peers().source_of(inbound(encode_peer(REVIEWS, "i"), principal=ID, secure=False))
    assert found.principal == "unknown"


def test_a_principal_that_a_caller_only_says_does_not_count():
    lying = replace(REVIEWS, principal=ID)
    assert peers().source_of(inbound(encode_peer(lying, "i"))).principal == "unknown"


def test_who_says_nothing_is_unknown():
    assert peers().source_of(inbound("")) is UNKNOWN


def test_who_says_nothing_but_proves_something_is_known_by_that():
    assert peers().source_of(inbound("", principal=ID)) == PeerFacts(principal=ID)


def test_of_a_call_that_nobody_metered_nothing_is_known():
    headers = ((PEER_METADATA, encode_peer(REVIEWS, "i")),)
    record = CallRecord(Request("", "GET", "/", headers=headers), 0.0, inbound=True)
    assert peers().source_of(record) is UNKNOWN


def test_a_caller_by_grpc_says_it_in_other_words():
    other = replace(REVIEWS, app="stars", version="unknown", cluster="w;est")
    record = inbound(packed_whole(other))
    record.request.is_grpc = True
    assert peers().source_of(record) == replace(other, cluster="west")


def test_what_grpc_cannot_carry_is_not_said():
    assert packed_whole(replace(REVIEWS, app="\N{GREEK SMALL LETTER PI}")).isascii()


def test_of_ones_own_calls_oneself_is_the_source_and_of_those_served_the_destination():
    seen = peers(principal=lambda: ID)
    made, served = outbound(), inbound("", principal=ID)
    made.request.meter.secured = True
    assert seen.source_of(made) == seen.destination_of(served) == seen.own
    assert seen.own == replace(REVIEWS, principal=ID)


def test_who_has_a_certificate_proves_nothing_in_plain_text():
    seen = peers(principal=lambda: ID)
    assert seen.source_of(outbound()) == seen.destination_of(inbound("")) == REVIEWS


def test_own_principal_follows_a_certificate_that_comes_late():
    certificates = [""]
    seen = peers(principal=lambda: certificates[-1])
    assert seen.own.principal == "unknown"
    certificates.append(ID)
    assert seen.own.principal == ID


def test_an_endpoint_is_who_the_control_plane_says_and_its_certificate_proves():
    record = outbound("reviews-v2;default;reviews;v2;Kubernetes", principal=ID)
    assert peers().destination_of(record) == replace(REVIEWS, principal=ID)


def test_an_endpoint_that_is_told_of_otherwise_is_another():
    seen, record = peers(), outbound(packed(REVIEWS))
    assert seen.destination_of(record) == REVIEWS
    assert seen.destination_of(record) is seen.destination_of(record)
    other = replace(REVIEWS, canonical_revision="v3", version="v3")
    told = outbound(packed(other)).endpoint
    assert told is not None
    assert record.endpoint is not None
    record.endpoint.config = told.config
    assert seen.destination_of(record) == other


def test_an_endpoint_of_which_nothing_is_told_is_who_it_answers_to_be():
    record, seen = outbound(), peers()
    answer = Response(200, ((PEER_METADATA, encode_peer(REVIEWS, "i")),))
    assert seen.destination_of(record, answer) == REVIEWS
    assert seen.destination_of(record, Response(200)) is UNKNOWN
    assert seen.destination_of(record) is UNKNOWN


def labelled():
    return packed(replace(REVIEWS, workload="unknown"))


def test_an_endpoint_that_has_labels_but_no_name_is_called_as_it_answers():
    record, seen = outbound(labelled()), peers()
    answer = Response(200, ((PEER_METADATA, encode_peer(REVIEWS, "i")),))
    refused = seen.destination_of(record)
    assert (refused.workload, refused.version) == ("reviews", "v2")
    assert seen.destination_of(record, answer) == REVIEWS
    assert seen.destination_of(record, Response(200)) == REVIEWS


def test_a_grpc_endpoint_with_labels_alone_is_called_as_its_service():
    record = outbound(labelled())
    record.request.is_grpc = True
    assert peers().destination_of(record) == replace(REVIEWS, workload="reviews")


def test_a_grpc_endpoint_without_a_name_is_called_as_it_said_when_it_was_asked():
    record, seen = outbound(is_grpc=True), peers()
    assert seen.destination_of(record) is UNKNOWN
    record.endpoint.introduced(packed_whole(REVIEWS))
    assert seen.destination_of(record) == REVIEWS
    record.endpoint.introduced("")
    assert seen.destination_of(record) is UNKNOWN


def test_labels_of_the_configuration_stand_with_the_name_that_was_said():
    record, seen = outbound(labelled(), is_grpc=True), peers()
    record.endpoint.introduced(packed_whole(replace(REVIEWS, canonical_revision="v9")))
    assert seen.destination_of(record) == REVIEWS


def test_a_grpc_endpoint_that_says_too_much_has_said_nothing():
    endpoint = outbound().endpoint
    listen(endpoint, ((PEER, "a;b;c;d;" + "e" * LONGEST),), ok=True)
    assert endpoint.said == ""


def test_a_failure_on_the_way_is_no_word_of_the_endpoint():
    endpoint = outbound().endpoint
    endpoint.introduced("a;b;c;;d")
    endpoint.ask()
    listen(endpoint, (), ok=False)
    assert (endpoint.said, endpoint.asks) == ("a;b;c;;d", True)


# --- bounds ---


def named(number):
    return encode_peer(replace(UNKNOWN, workload=f"w{number}"), "i")


def test_those_who_make_up_names_are_unknown_when_there_are_too_many():
    seen = peers()
    found = {seen.source_of(inbound(named(number))) for number in range(STRANGERS + 50)}
    assert len(found) == STRANGERS + 1
    assert UNKNOWN in found


def test_those_who_prove_who_they_are_may_be_ten_times_as_many():
    seen, numbers = peers(), range(DISTINCT + 50)
    found = {seen.source_of(inbound(named(one), principal=ID)) for one in numbers}
    assert len(found) == DISTINCT + 1 == 10 * STRANGERS + 1


def test_callers_who_make_up_names_take_none_from_those_who_answer():
    seen = peers()
    for number in range(STRANGERS + 50):
        seen.source_of(inbound(named(number)))
    answer = Response(200, ((PEER_METADATA, encode_peer(REVIEWS, "i")),))
    assert seen.destination_of(outbound(), answer) == REVIEWS


def test_a_name_that_nobody_proves_is_cut_where_kubernetes_would():
    long = encode_peer(replace(REVIEWS, workload="w" * 90), "i")
    assert peers().source_of(inbound(long)).workload == "w" * 63
    assert peers().source_of(inbound(long, principal=ID)).workload == "w" * 90


def test_where_others_are_forgotten_there_is_room_again():
    seen = peers()
    kept = seen.source_of(inbound(named(0)))
    for number in range(STRANGERS + 50):
        seen.source_of(inbound(named(number)))
    assert seen.crowded == {CALLS}
    assert seen.source_of(inbound(encode_peer(REVIEWS, "i"))) is UNKNOWN
    seen.keep({kept})
    assert not seen.crowded
    assert seen.source_of(inbound(encode_peer(REVIEWS, "i"))) == REVIEWS


def test_whoever_was_one_too_many_is_not_taken_for_unknown_for_ever():
    seen, record = peers(), outbound(packed(REVIEWS), is_grpc=True)
    for number in range(DISTINCT):
        seen.destination_of(outbound(packed(replace(REVIEWS, workload=f"w{number}"))))
    assert seen.destination_of(record) is UNKNOWN
    seen.keep(())
    assert seen.destination_of(record) == REVIEWS


def test_those_who_make_up_names_take_none_from_those_who_prove_theirs():
    seen = peers()
    for number in range(DISTINCT + 50):
        seen.source_of(inbound(named(number)))
    proven = seen.source_of(inbound(encode_peer(REVIEWS, "i"), principal=ID))
    assert proven == replace(REVIEWS, principal=ID)


@pytest.mark.parametrize("principal", ["", ID])
def test_those_who_make_up_names_take_none_from_whom_the_configuration_names(principal):
    seen = peers()
    hostile = inbound(packed(REVIEWS), principal=principal)
    hostile.request.is_grpc = True
    for number in range(DISTINCT + 50):
        seen.source_of(inbound(named(number), principal=principal))
    assert seen.source_of(hostile) == UNKNOWN
    assert seen.destination_of(outbound(packed(REVIEWS))) == REVIEWS


def test_who_was_known_is_known_again_after_many_others():
    seen = peers()
    assert seen.source_of(inbound(encode_peer(REVIEWS, "i"))) == REVIEWS
    for number in range(3000):
        seen.source_of(inbound(named(number)))
    assert seen.source_of(inbound(encode_peer(REVIEWS, "i"))) == REVIEWS


@pytest.mark.parametrize("audience", [None, Audience()])
def test_who_takes_part_in_a_call_is_noted_for_those_who_may_ask(audience):
    counted = []
    own = PeerFacts(workload="page")
    observer = Telemetry(counted.append, deque(), audience, peers=Peers(own))
    request = Request("reviews:9080", "GET", "/")
    observer(CallEnded(CallRecord(request, 0.0), Response(200), 0.1))
    assert counted[0].parties == (None if audience is None else (own, UNKNOWN))
