"""gRPC core is told how to verify one endpoint, each time it asks, and only what it asks for."""

import pytest

from meshlib.model import Address, Eds, LogicalDns, PickFirst, SafeRegex
from meshlib.model.security import CertificateProviderInstance
from meshlib.xds.bootstrap import Node
from meshlib.xds.codec import decode
from meshlib.xds.encodings import SendRequest
from meshlib.xds.messages import decode_response, encode_request
from meshlib.xds.native import Conversation, resource_name
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, SECRET

ADDRESS = Address("10.0.0.1", 9080)
REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
RATINGS = "spiffe://cluster.local/ns/default/sa/ratings"


def asked(kind, *names, **more):
    said = {"version": "", "nonce": "", "error": "", "first": False, **more}
    return encode_request(SendRequest(type_url=kind, names=names, **said), Node())


def answered(kind, name, conversation=None):
    answer = (conversation or Conversation("own")).answer(asked(kind, name))
    [raw] = decode_response(answer).resources
    decoded = decode(raw.type_url, raw.value)
    assert decoded.name == name
    return decoded.resource


def named(*ids, address=ADDRESS, is_ip=True, shows=True):
    return resource_name(address, ids or (REVIEWS,), is_ip=is_ip, shows=shows)


def test_one_endpoint_is_all_there_is():
    name = named()
    listener = answered(LISTENER, name)
    [host] = listener.http.routes.virtual_hosts
    [route] = host.routes
    assert (host.domains, route.action.cluster) == (("*",), name)
    [group] = answered(ENDPOINT, name).endpoints
    [endpoint] = group.lb_endpoints
    assert endpoint.address == ADDRESS


def test_each_id_is_asked_for_to_the_letter():
    cluster = answered(CLUSTER, named(REVIEWS, RATINGS))
    matchers = cluster.tls.validation.match_subject_alt_names
    assert [one.match for one in matchers] == [
        SafeRegex(REVIEWS.replace(".", r"\.")),
        SafeRegex(RATINGS.replace(".", r"\.")),
    ]
    own = CertificateProviderInstance("own")
    assert (cluster.tls.certificate, cluster.tls.validation.roots) == (own, own)
    assert (cluster.discovery, cluster.lb_policy) == (Eds(), PickFirst())
    assert cluster.circuit_breakers.default.max_requests == 2**32 - 1


def test_who_has_no_certificate_is_told_to_show_none():
    assert answered(CLUSTER, named(shows=False)).tls.certificate is None


def test_a_name_is_resolved_by_grpc_core():
    address = Address("reviews.example.org", 9080)
    cluster = answered(CLUSTER, named(address=address, is_ip=False))
    assert isinstance(cluster.discovery, LogicalDns)
    [group] = cluster.discovery.load_assignment.endpoints
    assert group.lb_endpoints[0].address == address


def test_what_was_told_is_not_told_again():
    conversation, name = Conversation("own"), named()
    answered(CLUSTER, name, conversation)
    assert conversation.answer(asked(CLUSTER, name, version="1", nonce="1")) is None
    assert conversation.answer(asked(CLUSTER, name, nonce="1", error="no")) is None
    assert answered(ENDPOINT, name, conversation)
    other = named(RATINGS)
    assert answered(CLUSTER, other, conversation)
    assert answered(CLUSTER, name, conversation)


@pytest.mark.parametrize(
    "request_",
    [
        b"\xff",
        asked(SECRET, "default"),
        asked(CLUSTER, "reviews"),
        asked(CLUSTER, resource_name(ADDRESS, (), is_ip=True, shows=True)),
    ],
)
def test_what_grpc_core_was_not_told_to_ask_is_refused(request_):
    with pytest.raises(ValueError):
        Conversation("own").answer(request_)
