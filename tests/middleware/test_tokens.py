"""Callers' tokens at servers of both kinds: verified, told to the handler, or refused."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import aiohttp
import grpc
import grpc.aio
import jwt as pyjwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

import meshlib
from meshlib.dataplane.filters.jwt_authn import FILTER
from meshlib.dataplane.filters.tokens import KeysWanted, Refused, Verified
from meshlib.identity.jwks import KeySet, parse_keys
from meshlib.identity.jwt import MALFORMED, NO_KEY, NOT_VERIFIED
from meshlib.identity.key_fetch import FetchError
from meshlib.identity.remote_keys import MAX_AGE, RemoteKeys
from meshlib.middleware._tokens import KEPT, VerifiedTokens, as_struct
from meshlib.model import (
    ROUTER,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    PathPrefix,
    Route,
    RouteConfiguration,
    RouteMatch,
    Snapshot,
    Struct,
    VirtualHost,
    gather,
)
from meshlib.model.authn import (
    AllowMissing,
    ClaimToHeader,
    JwtAuthn,
    JwtProvider,
    JwtRule,
    LocalJwks,
    RemoteJwks,
    RequireAny,
    RequireProvider,
)
from meshlib.testing import FakeClock, always
from meshlib.testing.grpc_servers import aio_serving, serving

GET = "/shop.Shop/Get"
ISSUER = "https://issuer.example"
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
NOW = 1_900_000_000
ALWAYS = 4_000_000_000


def jwks(*keys: Any) -> str:
    made = []
    for number, key in enumerate(keys):
        public = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
        made.append({**public, "kid": str(number)})
    return json.dumps({"keys": made})


KEYS = jwks(KEY)
PROVIDER = JwtProvider(
    name="issuer",
    issuer=ISSUER,
    jwks=LocalJwks(KEYS),
    audiences=("shop",),
    payload_in_metadata="payload",
    claim_to_headers=(ClaimToHeader(header_name="x-user", claim_name="sub"),),
    forward_payload_header="x-payload",
    normalize_space_delimited_claims=("scope",),
)
SOURCE = RemoteJwks(uri="https://issuer.example/keys")
REMOTE = replace(PROVIDER, jwks=SOURCE)
CLAIMS = {"iss": ISSUER, "aud": "shop", "sub": "jason", "exp": ALWAYS, "scope": "read write"}


def token(key: Any = KEY, kid: str | None = "0", **claims: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return pyjwt.encode({**CLAIMS, **claims}, key, "ES256", headers=headers)


GOOD = token()


# --- by themselves ---


class Keys:
    """What an issuer's server would answer, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.count = 0

    async def __call__(self, *_: Any) -> KeySet:
        self.count += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return parse_keys(found)


class Slow(Keys):
    """They come when they may."""

    def __init__(self, *answers: Any) -> None:
        super().__init__(*answers)
        self.may_come = threading.Event()

    async def __call__(self, *_: Any) -> KeySet:
        assert await asyncio.to_thread(self.may_come.wait, 10)
        return await super().__call__()


Make = Callable[..., VerifiedTokens]


@pytest.fixture
def verifier() -> Iterator[Make]:
    made: list[VerifiedTokens] = []

    def make(
        *answers: Any, now: Any = None, clock: Any = None, fetch: Keys | None = None
    ) -> VerifiedTokens:
        fetch = fetch or Keys(*answers or (FetchError("down"),))
        remote = RemoteKeys(clock=clock or FakeClock(), dice=always(0), fetch=fetch)
        made.append(VerifiedTokens(now or FakeClock(NOW), remote, lambda action: action()))
        return made[-1]

    yield make
    for one in made:
        one.close()


def judged(tokens: VerifiedTokens, provider: JwtProvider, text: str) -> Verified | Refused:
    """What a call gets that waits for keys once, as the filter does."""
    verdict = tokens.verify(provider, text)
    if isinstance(verdict, KeysWanted):
        granted = threading.Event()
        verdict.turn.wake = granted.set
        assert verdict.turn.granted or granted.wait(10)
        verdict = tokens.verify(provider, text)
    assert not isinstance(verdict, KeysWanted)
    return verdict


def test_a_good_token_is_believed_with_its_claims_and_payload(verifier: Make) -> None:
    tokens = verifier()
    assert tokens.issuer(GOOD) == ISSUER
    verdict = tokens.verify(PROVIDER, GOOD)
    assert isinstance(verdict, Verified)
    assert verdict.payload == GOOD.split(".")[1]
    assert verdict.claims == Struct(
        (
            ("aud", "shop"),
            ("exp", float(ALWAYS)),
            ("iss", ISSUER),
            ("scope", ("read", "write")),
            ("sub", "jason"),
        )
    )
    assert tokens.verify(PROVIDER, GOOD) is verdict


@pytest.mark.parametrize(
    ("text", "words", "forbidden"),
    [
        ("garbage", MALFORMED, False),
        (token(OTHER), NOT_VERIFIED, False),
        (token(kid="7"), NO_KEY, False),
        (token(aud="bank"), "Audiences in Jwt are not allowed", True),
        (token(exp=NOW - 61), "Jwt is expired", False),
        (token(iss="https://other"), "Jwt issuer is not configured", False),
        (token(huge=10**400), "Jwt payload is not valid", False),
    ],
)
def test_others_are_not(verifier: Make, text: str, words: str, forbidden: bool) -> None:
    assert verifier().verify(PROVIDER, text) == Refused(words, forbidden=forbidden)


def test_what_is_no_token_has_no_issuer(verifier: Make) -> None:
    assert verifier().issuer("garbage") == Refused(MALFORMED)


def test_a_number_that_is_infinite_is_no_claim(verifier: Make) -> None:
    parts = [
        base64.urlsafe_b64encode(b).rstrip(b"=").decode()
        for b in (
            b'{"alg":"ES256"}',
            b'{"iss":"%b","aud":"shop","exp":4e9,"x":1e999}' % ISSUER.encode(),
        )
    ]
    signature = pyjwt.algorithms.get_default_algorithms()["ES256"].sign(
        ".".join(parts).encode(), KEY
    )
    text = ".".join((*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()))
    assert verifier().verify(PROVIDER, text) == Refused("Jwt payload is not valid")


def test_a_token_that_was_good_expires_all_the_same(verifier: Make) -> None:
    wall = FakeClock(NOW)
    tokens = verifier(now=wall)
    text = token(exp=NOW + 10)
    assert isinstance(tokens.verify(PROVIDER, text), Verified)
    wall.jump(71)
    assert tokens.verify(PROVIDER, text) == Refused("Jwt is expired")


def test_keys_that_are_no_keys_verify_nothing(verifier: Make) -> None:
    broken = replace(PROVIDER, jwks=LocalJwks("{}"))
    assert verifier().verify(broken, GOOD) == Refused("Jwks is invalid")


def test_no_more_tokens_are_remembered_than_envoy_does(verifier: Make) -> None:
    tokens = verifier()
    first = tokens.verify(PROVIDER, GOOD)
    for number in range(KEPT):
        assert isinstance(tokens.verify(PROVIDER, token(jti=str(number))), Verified)
    again = tokens.verify(PROVIDER, GOOD)
    assert again == first
    assert again is not first


def test_claims_of_every_kind_are_metadata() -> None:
    claims = {"z": None, "a": [1, True, {"b": "c"}], "scope": 7}
    assert as_struct(claims, ("scope", "none")) == Struct(
        (("a", (1.0, True, Struct((("b", "c"),)))), ("scope", 7.0), ("z", None))
    )


# --- keys that are fetched ---


def test_the_first_call_waits_for_the_keys(verifier: Make) -> None:
    slow = Slow(KEYS)
    tokens = verifier(fetch=slow)
    assert isinstance(tokens.verify(REMOTE, GOOD), KeysWanted)
    slow.may_come.set()
    assert isinstance(judged(tokens, REMOTE, GOOD), Verified)
    told: Any = tokens.status()[ISSUER]
    assert told["error"] == ""


def test_without_keys_nobody_is_let_in(verifier: Make) -> None:
    """CVE-2026-31837."""
    tokens = verifier(FetchError("down"))
    assert judged(tokens, REMOTE, GOOD) == Refused("Jwks remote fetch is failed")
    assert tokens.verify(REMOTE, GOOD) == Refused("Jwks remote fetch is failed")


class Quick(RemoteKeys):
    """Keys are there as soon as somebody was told that there are none."""

    def when_fetched(self, source, issuer, then, *, unknown_key=False):
        over = threading.Event()
        if super().when_fetched(source, issuer, over.set):
            assert over.wait(10)
        return super().when_fetched(source, issuer, then, unknown_key=unknown_key)


def test_keys_that_come_while_they_are_asked_for_are_believed() -> None:
    remote = Quick(clock=FakeClock(), dice=always(0), fetch=Keys(KEYS))
    tokens = VerifiedTokens(FakeClock(NOW), remote, lambda action: action())
    assert isinstance(tokens.verify(REMOTE, GOOD), Verified)
    tokens.close()


def test_keys_older_than_a_day_let_nobody_in_not_even_who_was_let_in_before(
    verifier: Make,
) -> None:
    clock = FakeClock()
    tokens = verifier(KEYS, FetchError("down"), clock=clock)
    assert isinstance(judged(tokens, REMOTE, GOOD), Verified)
    clock.jump(MAX_AGE)
    assert isinstance(judged(tokens, REMOTE, GOOD), Verified)
    clock.jump(1)
    assert judged(tokens, REMOTE, GOOD) == Refused("Jwks remote fetch is failed")


def test_a_key_that_is_new_is_fetched_when_a_token_names_it(verifier: Make) -> None:
    tokens = verifier(KEYS, jwks(KEY, OTHER))
    assert isinstance(judged(tokens, REMOTE, GOOD), Verified)
    newer = token(OTHER, "1")
    assert isinstance(judged(tokens, REMOTE, newer), Verified)
    assert tokens.verify(REMOTE, token(OTHER, "2")) == Refused(NO_KEY)


def test_a_key_that_was_taken_back_verifies_nothing_any_more(verifier: Make) -> None:
    clock = FakeClock()
    tokens = verifier(KEYS, jwks(OTHER), clock=clock)
    assert isinstance(judged(tokens, REMOTE, GOOD), Verified)
    clock.jump(601)
    tokens.verify(REMOTE, GOOD)  # begins the fetch
    over = threading.Event()
    if tokens._remote.when_fetched(SOURCE, ISSUER, over.set):
        assert over.wait(10)
    assert judged(tokens, REMOTE, GOOD) == Refused(NOT_VERIFIED)


# --- in front of real servers ---


def guarded(provider: JwtProvider = PROVIDER) -> Snapshot:
    """A token is needed but below /open, where one that is there must be good."""
    rules = (
        JwtRule(
            RouteMatch(path=PathPrefix("/open")),
            RequireAny((RequireProvider("issuer"), AllowMissing())),
        ),
        JwtRule(RouteMatch(path=PathPrefix("/")), RequireProvider("issuer")),
    )
    host = VirtualHost(
        name="here", domains=("*",), routes=(Route(name="all", action=NonForwardingAction()),)
    )
    http = HttpConnectionManager(
        routes=RouteConfiguration(name="inbound", virtual_hosts=(host,)),
        http_filters=(
            HttpFilter(name=FILTER, config=JwtAuthn(providers=(provider,), rules=rules)),
            ROUTER,
        ),
    )
    return gather(listeners=[Listener(name="inbound", http=http)])


@pytest.fixture
def mesh() -> Iterator[meshlib.Mesh]:
    with meshlib.Mesh(config=[]) as made:
        made._runtime.commit(made._engine.prepare(guarded()))
        yield made


def seen_by(headers: Any, call: object) -> str:
    """What a handler is shown: the user, whether the token is still there, and the claims."""
    shown = {name.lower(): value for name, value in headers}
    claims = meshlib.peer(call).claims
    return json.dumps(
        [shown.get("x-user"), shown.get("authorization"), claims.get("sub"), claims.get("scope")]
    )


SHOWN = ["jason", None, "jason", ["read", "write"]]
STRANGER = [None, None, None, None]


@pytest.fixture
async def site(mesh: meshlib.Mesh) -> AsyncIterator[str]:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=seen_by(request.headers.items(), request))

    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    mesh.aiohttp.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_aiohttp_handler_sees_the_user_and_not_the_token(site: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{site}/p", headers={"authorization": f"Bearer {GOOD}"}) as answer,
    ):
        assert (answer.status, json.loads(await answer.text())) == (200, SHOWN)


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ([], 401, ""),
        ([("authorization", "Bearer x.y.z")], 401, "invalid_token"),
        ([("authorization", f"Bearer {token(OTHER)}")], 401, "invalid_token"),
        ([("authorization", f"Bearer {token(exp=NOW - 10**9)}")], 401, "invalid_token"),
        ([("authorization", f"Bearer {token(iss='https://other')}")], 401, "invalid_token"),
        ([("authorization", f"Bearer {token(aud='bank')}")], 403, None),
        ([("authorization", f"Bearer {GOOD}")] * 2, 400, None),
    ],
)
async def test_an_aiohttp_server_refuses_who_is_not_known(
    site: str, headers: Any, status: int, error: str | None
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{site}/p", headers=headers) as answer,
    ):
        assert answer.status == status
        told = answer.headers.get("www-authenticate")
        assert (told is None) is (error is None)
        assert told is None or ("invalid_token" in told) is (error == "invalid_token")


async def test_where_no_token_is_needed_a_bad_one_is_refused_all_the_same(site: str) -> None:
    """Envoy's allow_missing of 2021-001: an unlisted issuer is not a missing token."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{site}/open", headers={"x-user": "root"}) as answer:
            assert (answer.status, json.loads(await answer.text())) == (200, STRANGER)
        for bad in (token(OTHER), token(iss="https://other")):
            headers = {"authorization": f"Bearer {bad}"}
            async with session.get(f"{site}/open", headers=headers) as answer:
                assert answer.status == 401


@pytest.fixture
def sync_server(mesh: meshlib.Mesh) -> Iterator[str]:
    def get(request: bytes, context: Any) -> bytes:
        return seen_by(context.invocation_metadata(), context).encode()

    with serving(GET, get, interceptors=mesh.grpc.server_interceptors()) as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
async def aio_server(mesh: meshlib.Mesh) -> AsyncIterator[str]:
    async def get(request: bytes, context: Any) -> bytes:
        return seen_by(context.invocation_metadata(), context).encode()

    async with aio_serving(GET, get, interceptors=mesh.grpc.aio_server_interceptors()) as port:
        yield f"127.0.0.1:{port}"


BAD: list[tuple[Any, grpc.StatusCode, str]] = [
    ((), grpc.StatusCode.UNAUTHENTICATED, "Jwt is missing"),
    (
        (("authorization", f"Bearer {token(OTHER)}"),),
        grpc.StatusCode.UNAUTHENTICATED,
        "Jwt verification fails",
    ),
    (
        (("authorization", f"Bearer {token(aud='bank')}"),),
        grpc.StatusCode.PERMISSION_DENIED,
        "Audiences in Jwt are not allowed",
    ),
]


def test_a_grpc_handler_sees_the_user_and_not_the_token(sync_server: str) -> None:
    with grpc.insecure_channel(sync_server) as channel:
        call: Any = channel.unary_unary(GET)
        answer = call(b"", timeout=10, metadata=(("authorization", f"Bearer {GOOD}"),))
    assert json.loads(answer) == SHOWN


@pytest.mark.parametrize(("metadata", "code", "words"), BAD)
def test_a_grpc_server_refuses_who_is_not_known(
    sync_server: str, metadata: Any, code: grpc.StatusCode, words: str
) -> None:
    with grpc.insecure_channel(sync_server) as channel:
        call: Any = channel.unary_unary(GET)
        with pytest.raises(grpc.RpcError) as failed:
            call(b"", timeout=10, metadata=metadata)
    assert (failed.value.code(), failed.value.details()) == (code, words)


async def test_an_aio_handler_sees_the_user_and_not_the_token(aio_server: str) -> None:
    async with grpc.aio.insecure_channel(aio_server) as channel:
        call: Any = channel.unary_unary(GET)
        answer = await call(b"", timeout=10, metadata=(("authorization", f"Bearer {GOOD}"),))
    assert json.loads(answer) == SHOWN


@pytest.mark.parametrize(("metadata", "code", "words"), BAD)
async def test_an_aio_server_refuses_who_is_not_known(
    aio_server: str, metadata: Any, code: grpc.StatusCode, words: str
) -> None:
    async with grpc.aio.insecure_channel(aio_server) as channel:
        call: Any = channel.unary_unary(GET)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"", timeout=10, metadata=metadata)
    assert (failed.value.code(), failed.value.details()) == (code, words)


async def test_a_call_goes_on_when_the_keys_have_come(mesh: meshlib.Mesh, site: str) -> None:
    tokens: Any = mesh._engine.options.tokens
    gate = asyncio.Event()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def fetch(*_: Any) -> KeySet:
        loop.call_soon_threadsafe(asked.set)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(gate.wait(), loop))
        return parse_keys(KEYS)

    tokens._remote._fetch = fetch
    mesh._runtime.commit(mesh._engine.prepare(guarded(REMOTE)))
    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {GOOD}"}
        call = asyncio.create_task(_status(session, site, headers))
        await asked.wait()
        gate.set()
        assert await call == 200


async def _status(session: aiohttp.ClientSession, site: str, headers: Any) -> int:
    async with session.get(site, headers=headers) as answer:
        return answer.status


def test_a_member_tells_how_old_its_issuers_keys_are(mesh: meshlib.Mesh) -> None:
    assert mesh.status()["issuers"] == {}
    tokens: Any = mesh._engine.options.tokens
    tokens._remote._fetch = Keys(FetchError("the issuer is down"))
    judged(tokens, REMOTE, GOOD)
    wanted = {"uri": SOURCE.uri, "age": None, "error": "the issuer is down"}
    assert mesh.status()["issuers"] == {ISSUER: wanted}
