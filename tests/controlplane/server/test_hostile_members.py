"""What a member, an operator's page and a second control plane on one folder may not come to."""

import asyncio
import base64
import contextlib
import ssl
import threading
import time
from contextlib import asynccontextmanager

import aiohttp
import grpc
import pytest

from meshlib.controlplane import ControlPlane, front
from meshlib.controlplane.ca import opened
from meshlib.controlplane.manifests import load_documents
from meshlib.controlplane.registry import hosts_of
from meshlib.identity.authenticators import Caller
from meshlib.identity.credentials import IdentityError
from meshlib.identity.spiffe import SpiffeId
from meshlib.identity.store import FolderStore
from meshlib.xds.protos import message_class
from meshlib.xds.registration import Workload
from meshlib.xds.types import SECRET

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


@pytest.fixture
async def plane(tmp_path):
    made = ControlPlane([], listen="127.0.0.1:0", ca=tmp_path / "ca", admin="127.0.0.1:0")
    async with made:
        yield made


@pytest.fixture
def channel_of(plane):
    @asynccontextmanager
    async def channel(account):
        spiffe_id = SpiffeId.parse(f"spiffe://cluster.local/ns/default/sa/{account}")
        svid = plane.ca.authority.issue(spiffe_id, time.time())
        roots = plane.ca.authority.bundle().pem
        made = grpc.ssl_channel_credentials(roots, svid.private_key, svid.certificate_chain)
        async with grpc.aio.secure_channel(plane.address, made) as opened:
            yield opened

    return channel


def asking_for_its_key():
    request = message_class("envoy.service.discovery.v3.DeltaDiscoveryRequest")(
        type_url=SECRET, resource_names_subscribe=["default"]
    )
    request.node.id = "reviews"
    request.node.metadata.update({"NAMESPACE": "default"})
    return request.SerializeToString()


async def test_the_admin_interface_shows_no_key(plane, channel_of):
    """CVE-2021-34824's neighbour: what a caller was given by SDS stands in the memory of its
    stream, and the operator's page shows what streams were given."""
    async with channel_of("reviews") as channel:
        call = channel.stream_stream(ADS)()
        await call.write(asking_for_its_key())
        given = await call.read()
        assert b"PRIVATE KEY" in given
        shown = ""
        async with aiohttp.ClientSession(f"http://{plane.admin_address}/api/v1/") as session:
            for path in ("config/reviews", "clients/reviews", "status"):
                async with session.get(path) as answer:
                    shown += await answer.text()
    assert '"default"' in shown
    start = given.index(b"-----BEGIN PRIVATE KEY")
    for text in (b"PRIVATE KEY", given[start : start + 60]):
        for shift in range(3):
            inner = base64.b64encode(b"\0" * shift + text)[4:-4].decode()
            assert inner not in shown
        assert text.decode() not in shown


def test_of_programs_that_begin_at_once_on_one_folder_all_have_the_same_ca(tmp_path):
    found, begin = [], threading.Barrier(8)

    def open_it():
        begin.wait()
        try:
            found.append(opened(FolderStore(tmp_path / "ca"), time.time).bundle().pem)
        except Exception as error:
            found.append(repr(error))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(found)) == 1
    assert b"BEGIN CERTIFICATE" in found[0]


@pytest.mark.parametrize(
    ("accounts", "account", "is_one"),
    [
        ("payments, payments-v2", "payments-v2", True),
        ("payments", "reviews", False),
        ("payments", "", False),
        ("default", "", True),
        ("", "payments", False),
        (None, "reviews", True),
    ],
)
def test_a_member_is_an_endpoint_only_of_services_that_let_its_account(accounts, account, is_one):
    """Labels are what a member says of itself; its account is proven by its certificate."""
    said = {} if accounts is None else {"alpha.istio.io/kubernetes-serviceaccounts": accounts}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "payments", "annotations": said},
        "spec": {"selector": {"app": "payments"}, "ports": [{"name": "http", "port": 9080}]},
    }
    workload = Workload(
        id="1",
        address="10.0.0.1",
        port=9080,
        labels=(("app", "payments"),),
        service_account=account,
    )
    found = hosts_of(load_documents([service]), workload)
    assert found == (("payments.default.svc.cluster.local",) if is_one else ())


@pytest.fixture
def strangers(plane):
    """``strangers(3)``: so many connections that show no certificate, and say nothing."""
    opened = []

    async def connect(count):
        context = ssl.create_default_context(cadata=plane.ca.authority.bundle().pem.decode())
        context.set_alpn_protocols(["h2"])
        host, _, port = plane.address.rpartition(":")
        while len(opened) < count:
            one = await asyncio.open_connection(host, int(port), ssl=context)
            opened.append(one)
        return [reader for reader, _ in opened]

    yield connect
    for _, writer in opened:
        writer.transport.abort()


async def is_served(channel_of):
    async with channel_of("reviews") as channel:
        call = channel.stream_stream(ADS)()
        await call.write(asking_for_its_key())
        return b"PRIVATE KEY" in await asyncio.wait_for(call.read(), 10)


async def ended(reader):
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 10)
    return True


async def test_those_without_a_certificate_keep_no_member_out(channel_of, strangers, monkeypatch):
    monkeypatch.setattr(front, "STRANGERS", 4)
    readers = await strangers(12)
    assert await ended(readers[0])
    assert await is_served(channel_of)


async def test_nobody_without_a_certificate_stays_for_ever(strangers, monkeypatch):
    monkeypatch.setattr(front, "STAY", 0.1)
    (reader,) = await strangers(1)
    assert await ended(reader)


@pytest.mark.parametrize("what", ["serial", "end"])
def test_a_certificate_that_is_worth_nothing_any_more_buys_no_other(plane, what):
    """Its stream is open for a moment longer, and a stolen key must not become a new one."""
    spiffe_id = SpiffeId.parse("spiffe://cluster.local/ns/default/sa/reviews")
    svid = plane.ca.authority.issue(spiffe_id, time.time())
    caller = Caller("127.0.0.1", plane.ca.believe(svid.certificate_chain))
    assert plane.ca.issue(caller).spiffe_id == str(spiffe_id)
    if what == "serial":
        plane.ca.authority.revoke(f"{svid.serial:x}", time.time())
    else:
        plane.ca._wall = lambda: svid.not_after + 1
    with pytest.raises(IdentityError, match="revoked or expired"):
        plane.ca.issue(caller)
