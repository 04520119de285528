"""The scenes of the demo with mutual TLS: who calls whom, and who is turned away."""

import json
import os
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from fleet import DemoError, Fleet
from traffic import Client

from meshlib import CallError, Mesh
from meshlib.identity.authority import Authority
from meshlib.identity.names import derived_name
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore

Scene = dict[str, Any]
PAGE = "http://productpage:9080/productpage"
RATINGS = "/bookinfo.Ratings/Get"
DENIED = "RBAC: access denied"
POLICIES = Path(__file__).resolve().parent / "mtls" / "policies.yaml"


@contextmanager
def environment(told: dict[str, str]):
    before = dict(os.environ)
    os.environ.update(told)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@asynccontextmanager
async def member(fleet: Fleet, account: str) -> AsyncIterator[Mesh]:
    """A member of the mesh with the certificate of this account, in this very process."""
    with environment(fleet.membership(account)):
        mesh = Mesh(account, metrics=True)  # so that the others' metrics name it
    async with mesh:
        yield mesh


def visitor(mesh: Mesh) -> Client:
    return Client(PAGE, open_session=mesh.aiohttp.session)


async def every_hop(client: Client) -> Scene:
    """One page with all its hops, and then many, none of which may fail."""
    page = await client.page({"end-user": "jason"})
    pairs = [f"{short(hop['peer'])} > {short(hop['id'])}" for hop in page["hops"]]
    traffic = await client.play(1000)
    ways = ["visitor > productpage", "productpage > details", "productpage > reviews"]
    return {
        "name": "g: who calls whom, by certificate",
        "calls": len(traffic.calls),
        "failed": traffic.failed,
        "pairs": pairs,
        "identities": [{"peer": hop["peer"], "id": hop["id"]} for hop in page["hops"]],
        "errors": traffic.errors[:5],
        "ok": not traffic.failed and set(pairs) >= {*ways, "reviews > ratings"},
    }


async def strangers(fleet: Fleet) -> Scene:
    """No certificate, one of a foreign CA, and the right CA's for somebody else."""
    foreign = Authority.create(MemoryStore(), TrustDomain("cluster.local"), time.time())
    page, ratings = fleet.port("productpage"), fleet.port("ratings")
    stolen = {account: issued(foreign, account) for account in ("visitor", "reviews")}
    refusals = {
        "plain text, HTTP": await refused(get(f"http://127.0.0.1:{page}/productpage", None)),
        "no certificate, HTTP": await refused(get(secure(page), context_of(fleet, None))),
        "no certificate, gRPC": await refused(rate(channel_to(fleet, ratings, None))),
        "a foreign CA's, HTTP": await refused(
            get(secure(page), context_of(fleet, stolen["visitor"]))
        ),
        "a foreign CA's, gRPC": await refused(rate(channel_to(fleet, ratings, stolen["reviews"]))),
    }
    async with member(fleet, "stranger") as mesh:
        refusals["a stranger's, HTTP"] = await refused(browse(mesh))
        refusals["a stranger's, gRPC"] = await refused(rate(mesh.grpc.aio_channel("ratings:9080")))
    by_policy = [text for who, text in refusals.items() if who.startswith("a stranger's")]
    return {
        "name": "h: strangers are refused",
        "refusals": refusals,
        "ok": all(refusals.values()) and all(DENIED in text for text in by_policy),
    }


async def not_for_the_page(fleet: Fleet) -> Scene:
    """The policy of ratings lets reviews in, and nobody else."""
    async with member(fleet, "productpage") as mesh:
        page = await refused(rate(mesh.grpc.aio_channel("ratings:9080")))
    async with member(fleet, "reviews") as mesh:
        reviews = await refused(rate(mesh.grpc.aio_channel("ratings:9080")))
    return {
        "name": "i: productpage may not call ratings",
        "productpage": page,
        "reviews": reviews or "answered",
        "ok": DENIED in page and not reviews,
    }


async def refused(call: Any) -> str:
    """Why; "" where it was let in."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {(error.details() or '')[:120]}"
    except (aiohttp.ClientError, CallError, OSError, DemoError) as error:
        return str(error)[:120] or repr(error)
    return ""


async def browse(mesh: Mesh) -> None:
    async with mesh.aiohttp.session() as session, session.get(PAGE) as answer:
        if answer.status != 200:
            raise DemoError(f"{answer.status} {await answer.text()}")


async def get(url: str, context: ssl.SSLContext | None) -> None:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context or True):
        pass


async def rate(channel: grpc.aio.Channel) -> None:
    async with channel:
        call = channel.unary_unary(RATINGS, lambda message: json.dumps(message).encode())
        await call({"book": 0}, timeout=5)


def secure(port: int) -> str:
    return f"https://127.0.0.1:{port}/productpage"


def context_of(fleet: Fleet, pair: tuple[bytes, bytes] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=fleet.root.decode())
    context.check_hostname = False  # a member has no host name, and it is not it that is on trial
    if pair is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"".join(pair))
            file.flush()
            context.load_cert_chain(file.name)
    return context


def channel_to(fleet: Fleet, port: int, pair: tuple[bytes, bytes] | None) -> grpc.aio.Channel:
    key, chain = pair or (None, None)
    name = derived_name("spiffe://cluster.local/ns/default/sa/ratings")
    return grpc.aio.secure_channel(
        f"127.0.0.1:{port}",
        grpc.ssl_channel_credentials(fleet.root, key, chain),
        (("grpc.ssl_target_name_override", name),),
    )


def issued(authority: Authority, account: str) -> tuple[bytes, bytes]:
    wanted = SpiffeId.of_workload(authority.trust_domain, "default", account)
    svid = authority.issue(wanted, time.time())
    return svid.private_key, svid.certificate_chain


def short(spiffe_id: str | None) -> str:
    return (spiffe_id or "nobody").rpartition("/")[2]


async def act(fleet: Fleet, client: Client) -> AsyncIterator[Scene]:
    yield await every_hop(client)
    yield await strangers(fleet)
    yield await not_for_the_page(fleet)
