"""gRPC core resumes sessions of TLS, at which nobody looks at a certificate again."""

import time

import pytest


@pytest.fixture
def let_in(reviews, ca, words):
    """Is a call let in of a connection that gRPC core says this of?"""
    reviews.let_in()
    svid = ca.svid(words.PRODUCTPAGE)
    inbound = reviews.runtime.security.inbound

    def ask(reused: bytes, after: float = 0.0) -> bool:
        inbound._wall = lambda: time.time() + after
        auth = {
            "transport_security_type": [b"ssl"],
            "x509_pem_cert": [svid.certificate_chain],
            "ssl_session_reused": [reused],
        }
        return not inbound.of_grpc(auth, None).refusal

    return ask


def test_who_has_expired_does_not_come_back_by_a_resumed_session(let_in):
    assert let_in(b"false")
    assert let_in(b"true")
    assert not let_in(b"true", after=7200)


def test_a_connection_that_was_there_before_lives_on(let_in):
    assert let_in(b"false")
    assert let_in(b"false", after=7200)
