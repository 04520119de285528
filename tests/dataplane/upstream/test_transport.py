"""Which transport socket leads to an endpoint, and what is never sent in plain text."""

from dataclasses import replace

from meshlib.dataplane import Cause, Failure
from meshlib.dataplane.upstream.transport import Transport, is_secured, transport_of
from meshlib.model import (
    Address,
    Cluster,
    ClusterProvided,
    Endpoint,
    Metadata,
    OriginalDst,
    Struct,
)
from meshlib.model.security import TransportSocketMatch, UpstreamTls
from meshlib.testing import REVIEWS, a_mesh, get, ok, play

ISTIO, OTHER = UpstreamTls(sni="istio"), UpstreamTls(sni="other")
CLUSTER = Cluster(
    name="reviews",
    tls=OTHER,
    transport_socket_matches=(
        TransportSocketMatch(name="a", match=Struct((("tlsMode", "istio"),)), tls=ISTIO),
        TransportSocketMatch(name="b", match=Struct((("tlsMode", "disabled"),))),
    ),
)
PLAIN = Cluster(name="reviews")


def endpoint(**criteria):
    said = Struct(tuple(sorted(criteria.items())))
    metadata = Metadata(
        (
            ("envoy.transport_socket_match", said),
            ("meshlib", Struct((("spiffe_id", "spiffe://td/a"),))),
        )
    )
    return Endpoint(address=Address("10.0.0.1", 1), metadata=metadata, hostname="host")


def test_the_first_socket_that_fits_the_metadata_holds():
    istio = transport_of(CLUSTER, endpoint(tlsMode="istio", more="x"))
    assert istio == Transport(ISTIO, "spiffe://td/a", "host")
    assert transport_of(CLUSTER, endpoint(tlsMode="disabled")) is None


def test_where_none_fits_the_cluster_itself_says():
    assert transport_of(CLUSTER, endpoint(tlsMode="x")).tls is OTHER
    assert transport_of(CLUSTER, Endpoint(address=Address("10.0.0.1", 1))).spiffe_id == ""
    assert transport_of(replace(CLUSTER, tls=None), endpoint()) is None


def test_a_socket_without_criteria_fits_all():
    anyone = TransportSocketMatch(name="x", tls=ISTIO)
    cluster = Cluster(name="reviews", transport_socket_matches=(anyone,))
    assert transport_of(cluster, endpoint()).tls is ISTIO


def test_a_cluster_is_secured_where_any_of_its_sockets_is():
    assert is_secured(CLUSTER)
    assert is_secured(Cluster(name="reviews", tls=ISTIO))
    assert not is_secured(PLAIN)
    matches = CLUSTER.transport_socket_matches[1:]
    plain = replace(CLUSTER, tls=None, transport_socket_matches=matches)
    assert not is_secured(plain)


def test_what_is_passed_through_is_not_sent_where_tls_is_wanted():
    onward = {"discovery": OriginalDst(), "lb_policy": ClusterProvided()}
    mesh = a_mesh({"10.0.0.1:1": ok()}, tls=OTHER, **onward)
    call = play(mesh, get(REVIEWS))
    assert isinstance(call.outcome, Failure)
    assert (call.outcome.cause, call.attempts) == (Cause.CONNECT, [])
