"""Whatever comes in place of a token or of a set of keys: it is one, or is refused in words."""

import json
from functools import cache

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from meshlib.identity.jwks import KeySetError, parse_keys
from meshlib.identity.jwt import SIGNED, TokenError, check_claims, parse

BOTH = frozenset({True, False})
NOW = 1_700_000_000.0
SECRET = 0x1234567890ABCDEF
CLAIMS = {"iss": "me", "exp": 4_000_000_000}


@cache
def key():
    return ec.derive_private_key(SECRET, ec.SECP256R1())


@cache
def keys():
    public = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(key().public_key()))
    return parse_keys(json.dumps({"keys": [{**public, "kid": "one"}]}))


@pytest.fixture
def lines(corpus):
    """Header and payload, a line each; a signature is made for each of them anew."""
    found = (corpus / "jwt.txt").read_text(encoding="utf-8").splitlines()
    return [tuple(json.loads(line)) for line in found]


def signed(header: str, payload: str) -> str:
    encode = pyjwt.utils.base64url_encode
    head = b".".join(encode(part.encode("utf-8", "replace")) for part in (header, payload))
    signature = pyjwt.algorithms.get_default_algorithms()["ES256"].sign(head, key())
    return (head + b"." + encode(signature)).decode()


def is_believed(text: str, check_words) -> bool:
    try:
        token = parse(text)
        check_claims(token, "me", (), NOW, 60)
        keys().verify(token)
    except TokenError as refused:
        check_words(refused)
        return False
    assert token.algorithm in SIGNED
    assert token.issuer == "me"
    assert token.claims["exp"] > NOW - 61
    return True


def test_a_token_is_believed_or_refused_in_words(lines, bend_text, check_words, fuzz):
    """What is signed is bent before it is signed: the rules themselves must hold."""

    def make(seed):
        header, payload = lines[seed % len(lines)]
        if seed % 3:
            payload = bend_text(payload, seed // len(lines))
        if seed % 2:
            header = bend_text(header, seed)
        return signed(header, payload)

    fuzz(make, lambda text: is_believed(text, check_words), rounds=40 * len(lines), sees=BOTH)


def test_a_token_that_was_bent_after_it_was_signed_is_not_believed(lines, bend_text, check_words):
    good = signed('{"alg":"ES256","kid":"one"}', json.dumps(CLAIMS))
    assert is_believed(good, check_words)
    for seed in range(400):
        bent = bend_text(good, seed)
        if bent != good and bent.rstrip("=") != good:
            assert not is_believed(bent, check_words), (seed, bent)


def test_a_set_of_keys_is_read_or_refused_in_words(corpus, bend_text, check_words, fuzz):
    texts = (corpus / "jwks.txt").read_text(encoding="utf-8").splitlines()

    def is_read(text):
        try:
            found = parse_keys(text)
        except KeySetError as refused:
            check_words(refused)
            return False
        assert found.keys
        assert all(one.algorithms <= SIGNED for one in found.keys)
        return True

    def make(seed):
        return bend_text(texts[seed % len(texts)], seed // len(texts))

    fuzz(make, is_read, rounds=60 * len(texts), sees=BOTH)
