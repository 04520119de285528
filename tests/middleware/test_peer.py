"""Who calls, with the claims of his token."""

import pytest

from meshlib.dataplane import Connection, Peer, Request
from meshlib.middleware._peer import served
from meshlib.model import Struct

SECURE = Connection(peer=Peer(secure=True, spiffe_id="spiffe://td/a"))
REQUEST = Request("", "GET", "/", connection=SECURE)
CLAIMS = Struct((("groups", ("a", "b")), ("iss", "me"), ("nested", Struct((("n", 1.0),)))))


def test_the_claims_of_a_verified_token_are_the_callers():
    noted = REQUEST.noted("envoy.filters.http.jwt_authn", Struct((("payload", CLAIMS),)))
    found = served(noted).peer
    assert found.spiffe_id == "spiffe://td/a"
    assert found.claims == {"groups": ["a", "b"], "iss": "me", "nested": {"n": 1.0}}


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        REQUEST.noted("envoy.filters.http.jwt_authn", Struct()),
        REQUEST.noted("other", Struct((("payload", CLAIMS),))),
    ],
)
def test_without_a_token_there_are_no_claims(request_):
    assert served(request_) is SECURE
    assert served(request_).peer.claims == {}
