"""Tokens: Envoy's and Istio's own, and those that an attacker would make."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from meshlib.identity.jwks import KeySetError, parse_keys
from meshlib.identity.jwt import (
    BAD_ALGORITHM,
    BAD_HEADER,
    BAD_PAYLOAD,
    BAD_SIGNATURE,
    EXPIRED,
    MALFORMED,
    MAX_TOKEN,
    NO_EXPIRY,
    NO_KEY,
    NOT_VERIFIED,
    NOT_YET,
    WRONG_AUDIENCE,
    WRONG_ISSUER,
    TokenError,
    check_claims,
    parse,
)

DATA = Path(os.environ.get("MESHLIB_TESTDATA", Path(__file__).parents[2] / "../shared/testdata"))
VECTORS: dict[str, Any] = json.loads((DATA / "jwt_vectors.json").read_text())
NOW = 1_700_000_000.0
ISSUER = "https://example.com"
AUDIENCES = ("example_service", "http://example_service1", "https://example_service2/")
NO_TOKENS = {"ProviderName", "ExpectedPayloadValue"}

WANTED = {
    "GoodToken": "",
    "ExpiredToken": EXPIRED,
    "NotYetValidToken": NOT_YET,
    "InvalidAudToken": WRONG_AUDIENCE,
    "OtherGoodToken": WRONG_ISSUER,
    # Envoy takes tokens that never expire; here every token must have an expiry.
    "NonExpiringToken": NO_EXPIRY,
    # Its header names no key at all, and its signature is by none of the two.
    "NonExistKidToken": NOT_VERIFIED,
    # It names no issuer, and the provider has one.
    "ES256WithoutIssToken": WRONG_ISSUER,
}


def verdict(text: str, keys: str, issuer: str = "", audiences: tuple[str, ...] = ()) -> str:
    try:
        token = parse(text)
        check_claims(token, issuer, audiences, NOW, 60)
        parse_keys(keys).verify(token)
    except TokenError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", sorted(set(VECTORS["envoy"]["tokens"]) - NO_TOKENS))
def test_envoys_tokens_are_judged_as_their_names_say(name: str) -> None:
    keys = VECTORS["envoy"]["jwks"]["ES256PublicKey" if name.startswith("ES") else "PublicKey"]
    text = VECTORS["envoy"]["tokens"][name]
    assert verdict(text, keys, ISSUER, AUDIENCES) == WANTED[name]


@pytest.mark.parametrize("name", sorted(VECTORS["istio"]["tokens"]))
def test_istios_tokens_are_good_but_for_the_one_that_expired(name: str) -> None:
    made = VECTORS["istio"]["tokens"][name]
    wanted = EXPIRED if name == "TokenExpired" else ""
    assert verdict(made["token"], VECTORS["istio"]["jwks"]) == wanted
    payload = made["token"].split(".")[1]
    shown = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert dict(parse(made["token"]).claims) == shown


def test_a_token_without_an_issuer_is_not_refused_for_it_where_any_issuer_will_do() -> None:
    token = VECTORS["envoy"]["tokens"]["ES256WithoutIssToken"]
    assert verdict(token, VECTORS["envoy"]["jwks"]["ES256PublicKey"]) == NO_EXPIRY


# --- our own keys ---

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
GOOD = {"iss": ISSUER, "sub": "me", "exp": NOW + 60}


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    algorithm = (
        pyjwt.algorithms.RSAAlgorithm
        if isinstance(key, rsa.RSAPrivateKey)
        else pyjwt.algorithms.ECAlgorithm
    )
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), **more}


def keys_of(*entries: dict[str, Any]) -> str:
    return json.dumps({"keys": entries})


def signed(
    claims: dict[str, Any] | None = None, key: Any = RSA, alg: str = "RS256", **header: Any
) -> str:
    payload = json.dumps(claims or GOOD).encode()
    return pyjwt.api_jws.encode(payload, key, algorithm=alg, headers=header)


def raw(header: Any, claims: Any, signature: str = "c2ln") -> str:
    def part(value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    return f"{part(header)}.{part(claims)}.{signature}"


@pytest.mark.parametrize("alg", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_rsa_keys_verify_every_rsa_signature_that_is_not_forbidden_by_their_alg(alg: str) -> None:
    token = signed(alg=alg)
    assert verdict(token, keys_of(jwk(RSA))) == ""
    assert verdict(token, keys_of(jwk(RSA, alg=alg))) == ""
    other = "RS512" if alg != "RS512" else "RS256"
    assert verdict(token, keys_of(jwk(RSA, alg=other))) == NO_KEY


def test_curves_have_one_algorithm_each() -> None:
    assert verdict(signed(key=EC, alg="ES256"), keys_of(jwk(EC))) == ""
    larger = ec.generate_private_key(ec.SECP384R1())
    assert verdict(signed(key=larger, alg="ES384"), keys_of(jwk(larger))) == ""
    assert verdict(signed(key=larger, alg="ES384"), keys_of(jwk(EC))) == NO_KEY


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "HS512", "", None, 7, ["RS256"]])
def test_an_algorithm_that_is_no_signature_of_a_public_key_is_refused(alg: Any) -> None:
    """The classes of CVE-2015-9235: none, and the public key taken for a shared secret."""
    assert verdict(raw({"alg": alg}, GOOD), keys_of(jwk(RSA))) == BAD_ALGORITHM


def test_the_public_key_as_a_shared_secret_signs_nothing() -> None:
    pem = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secret = base64.urlsafe_b64encode(pem).decode()
    token = pyjwt.encode(GOOD, secret, algorithm="HS256")
    assert verdict(token, keys_of(jwk(RSA))) == BAD_ALGORITHM
    with pytest.raises(KeySetError):
        parse_keys(keys_of({"kty": "oct", "k": secret}))


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"])
def test_a_token_that_brings_its_own_keys_or_rules_is_refused(name: str) -> None:
    assert verdict(raw({"alg": "RS256", name: "x"}, GOOD), keys_of(jwk(RSA))) == BAD_HEADER


def test_a_key_id_chooses_within_the_set_and_nothing_else() -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = keys_of(jwk(other, kid="a"), jwk(RSA, kid="b"))
    assert verdict(signed(kid="b"), keys) == ""
    assert verdict(signed(kid="a"), keys) == NOT_VERIFIED
    assert verdict(signed(kid="../../b"), keys) == NO_KEY
    assert verdict(signed(), keys) == "", "without one, those of the algorithm are tried"
    assert verdict(raw({"alg": "RS256", "kid": 7}, GOOD), keys) == BAD_HEADER


def test_a_changed_payload_or_signature_is_not_verified() -> None:
    head, _, signature = signed().split(".")
    other = signed({**GOOD, "sub": "root"}).split(".")[1]
    assert verdict(f"{head}.{other}.{signature}", keys_of(jwk(RSA))) == NOT_VERIFIED
    assert verdict(f"{signed()[:-4]}AAAA", keys_of(jwk(RSA))) == NOT_VERIFIED


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"exp": NOW - 61}, EXPIRED),
        ({"exp": NOW - 59}, ""),
        ({"exp": None}, NO_EXPIRY),
        ({"exp": "tomorrow"}, BAD_PAYLOAD),
        ({"exp": True}, BAD_PAYLOAD),
        ({"exp": -1}, BAD_PAYLOAD),
        ({"nbf": NOW + 61}, NOT_YET),
        ({"nbf": NOW + 59}, ""),
        ({"aud": "there"}, WRONG_AUDIENCE),
        ({"aud": ["there", "here"]}, ""),
        ({"aud": []}, WRONG_AUDIENCE),
        ({"aud": {"here": 1}}, BAD_PAYLOAD),
        ({"aud": [1]}, BAD_PAYLOAD),
        ({"aud": 1}, BAD_PAYLOAD),
        ({"aud": "https://here/"}, ""),
        ({"iss": "https://example.com/"}, WRONG_ISSUER),
        ({"iss": ["https://example.com"]}, WRONG_ISSUER),
    ],
)
def test_claims_are_checked(claims: dict[str, Any], wanted: str) -> None:
    token = signed({**GOOD, "aud": "here", **claims})
    assert verdict(token, keys_of(jwk(RSA)), ISSUER, ("here",)) == wanted


def test_no_configuration_makes_the_leeway_longer_than_a_minute() -> None:
    token = parse(raw({"alg": "RS256"}, {**GOOD, "exp": NOW - 61}))
    with pytest.raises(TokenError, match=EXPIRED):
        check_claims(token, ISSUER, (), NOW, 3600)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "x" * (MAX_TOKEN + 1) + ".b.c"],
)
def test_what_is_not_three_parts_is_no_token(text: str) -> None:
    assert verdict(text, keys_of(jwk(RSA))) == MALFORMED


@pytest.mark.parametrize(
    "header", ["no json", "[]", '"alg"', "7", '{"alg": "RS256", "alg": "none"}', "[" * 5000]
)
def test_a_header_that_is_no_plain_object_is_refused(header: str) -> None:
    assert verdict(raw(header, GOOD), keys_of(jwk(RSA))) == BAD_HEADER


@pytest.mark.parametrize(
    "claims",
    ["no json", "[]", '{"sub": 1, "sub": 2}', '{"exp": NaN}', '{"a":' * 70 + "1" + "}" * 70],
)
def test_a_payload_that_is_no_plain_object_is_refused(claims: str) -> None:
    assert verdict(raw({"alg": "RS256"}, claims), keys_of(jwk(RSA))) == BAD_PAYLOAD


def test_an_expiry_beyond_all_numbers_is_none() -> None:
    token = raw({"alg": "RS256"}, '{"iss": "https://example.com", "exp": 1e999}')
    assert verdict(token, keys_of(jwk(RSA)), ISSUER) == BAD_PAYLOAD


def test_parts_in_the_other_base64_are_refused() -> None:
    head, payload, signature = raw({"alg": "RS256"}, '{"a": "???>>>"}').split(".")
    plain = base64.b64encode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert verdict(f"{head}.{plain.decode()}.{signature}", keys_of(jwk(RSA))) == BAD_PAYLOAD


# --- key sets ---


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "not JSON"),
        ("[]", "has no keys"),
        ("{}", "has no keys"),
        ('{"keys": []}', "has no keys"),
        ('{"keys": 7}', "has no keys"),
        (json.dumps({"keys": [{}] * 101}), "more than 100"),
        (" " * (1024 * 1024 + 1), "larger than"),
        (keys_of({"kty": "oct", "k": "c2VjcmV0"}), "verify no tokens"),
        (keys_of(jwk(RSA, use="enc")), "not for signatures"),
        (keys_of(jwk(RSA, alg="HS256")), "not one of this kind"),
        (keys_of(jwk(RSA, alg=["RS256"])), "not one of this kind"),
        (keys_of(jwk(EC, crv="P-257")), "not one of this kind"),
        (keys_of(jwk(RSA, kid=7)), "kid is not a text"),
        (keys_of(jwk(RSA, d="AQAB")), "private key"),
        (keys_of({"kty": "RSA", "n": "x", "e": "?"}), "not a valid key"),
        ('{"keys": ["key"]}', "not an object"),
    ],
)
def test_a_key_set_that_verifies_nothing_is_refused_and_says_why(text: str, why: str) -> None:
    with pytest.raises(KeySetError, match=why):
        parse_keys(text)


@pytest.mark.parametrize("said", [{"kty": "oct/" * 400}, jwk(RSA, alg="HS\n" * 400)])
def test_a_useless_key_set_is_told_of_in_one_short_line(said: dict[str, Any]) -> None:
    with pytest.raises(KeySetError, match="and 97 more") as refused:
        parse_keys(keys_of(*[said] * 100))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


def test_a_short_rsa_key_is_not_used() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(KeySetError, match="less than 2048 bits"):
        parse_keys(keys_of(jwk(short)))


def test_a_key_that_is_of_no_use_spoils_no_other_and_is_named() -> None:
    found = parse_keys(keys_of({"kty": "oct"}, jwk(RSA)))
    assert len(found.keys) == 1
    assert found.unused == ("keys[0]: keys of kind 'oct' verify no tokens",)


@pytest.mark.parametrize("signature", ["a+b", "a/b", "ab=", "a b", "\udcff", "é"])
def test_a_signature_in_another_alphabet_is_refused(signature: str) -> None:
    """Found by bending tokens: bytes of a header that are no text ended in an error of ours."""
    good = next(iter(VECTORS["istio"]["tokens"].values()))["token"]
    head = good.rpartition(".")[0]
    assert verdict(f"{head}.{signature}", VECTORS["istio"]["jwks"]) == BAD_SIGNATURE
