"""A control plane with a CA: who is let in, as whom, and what each is told (real sockets)."""

import asyncio
import hashlib
import random
import ssl
import time
from contextlib import asynccontextmanager

import grpc
import pytest

from meshlib.controlplane import ControlPlane
from meshlib.errors import ConfigError, MeshError
from meshlib.identity.authority import Authority
from meshlib.identity.client import CaAddress, CaSource
from meshlib.identity.credentials import IdentityError
from meshlib.identity.pinning import pinned_root
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import FolderStore, MemoryStore
from meshlib.identity.tokens import JoinTokens
from meshlib.xds.protos import message_class
from meshlib.xds.registration import Request, Workload, encode_request
from meshlib.xds.types import LISTENER, SECRET

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
SDS = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
REGISTER = "/meshlib.registration.v1.RegistrationService/Register"
DISCOVERY = "envoy.service.discovery.v3"
DENIED, UNKNOWN = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED


def spiffe_id(account, namespace="default"):
    return SpiffeId.parse(f"spiffe://cluster.local/ns/{namespace}/sa/{account}")


@pytest.fixture
async def plane(tmp_path):
    folder, local = tmp_path / "ca", tmp_path / "ca.sock"
    async with ControlPlane([], listen="127.0.0.1:0", ca=folder, ca_socket=local) as made:
        yield made


@asynccontextmanager
async def channel_of(plane, svid=None, *, roots=None):
    roots = roots or plane.ca.authority.bundle().pem
    pair = (None, None) if svid is None else (svid.private_key, svid.certificate_chain)
    credentials = grpc.ssl_channel_credentials(roots, *pair)
    async with grpc.aio.secure_channel(plane.address, credentials) as channel:
        yield channel


def request(type_url=SECRET, *names, namespace="default", account="", **fields):
    made = message_class(f"{DISCOVERY}.DiscoveryRequest")(
        type_url=type_url, resource_names=names, **fields
    )
    made.node.id = f"of-{namespace}"
    made.node.metadata.update({"NAMESPACE": namespace})
    if account:
        made.node.metadata.update({"SERVICE_ACCOUNT": account})
    return made.SerializeToString()


async def asked(channel, message, method=ADS):
    call = channel.stream_stream(method)()
    await call.write(message)
    return message_class(f"{DISCOVERY}.DiscoveryResponse").FromString(await call.read())


async def refused(channel, message, method=ADS):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await asked(channel, message, method)
    return error.value.code()


def secrets_of(response):
    kind = message_class("envoy.extensions.transport_sockets.tls.v3.Secret")
    return {one.name: one for one in (kind.FromString(any_.value) for any_ in response.resources)}


def ids_in(pem):
    from cryptography import x509

    leaf = x509.load_pem_x509_certificate(pem)
    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sans.get_values_for_type(x509.UniformResourceIdentifier)


def member(plane, account, namespace="default"):
    return plane.ca.authority.issue(spiffe_id(account, namespace), time.time())


async def test_nothing_is_told_to_who_shows_no_certificate(plane):
    async with channel_of(plane) as channel:
        assert await refused(channel, request(LISTENER, "inbound")) is UNKNOWN
        assert await refused(channel, request(), SDS) is UNKNOWN


async def test_who_has_a_certificate_of_a_foreign_ca_is_turned_away(plane):
    foreign = Authority.create(MemoryStore(), TrustDomain("cluster.local"), time.time())
    svid = foreign.issue(spiffe_id("reviews"), time.time())
    async with channel_of(plane, svid) as channel:
        assert await refused(channel, request()) is grpc.StatusCode.UNAVAILABLE


async def test_a_node_is_of_the_namespace_that_its_certificate_says(plane):
    async with channel_of(plane, member(plane, "reviews")) as channel:
        assert await refused(channel, request(namespace="payments")) is DENIED
        assert (await asked(channel, request(SECRET, "ROOTCA"))).type_url == SECRET


async def test_a_node_has_the_account_that_its_certificate_says(plane):
    async with channel_of(plane, member(plane, "reviews")) as channel:
        assert await refused(channel, request(account="ratings")) is DENIED
        allowed = request(SECRET, "ROOTCA", account="reviews")
        assert (await asked(channel, allowed)).type_url == SECRET


async def test_an_id_of_another_form_is_no_member(plane):
    svid = plane.ca.authority.issue(SpiffeId.parse("spiffe://cluster.local/admin"), time.time())
    async with channel_of(plane, svid) as channel:
        assert await refused(channel, request()) is DENIED


@pytest.mark.parametrize("method", [ADS, SDS])
async def test_each_caller_is_given_its_own_key_though_another_was_given_one_before(plane, method):
    """CVE-2021-34824: a cache that is warm with another's secret."""
    found = {}
    for account in ("reviews", "ratings", "reviews"):
        async with channel_of(plane, member(plane, account)) as channel:
            response = await asked(channel, request(SECRET, "default", "ROOTCA"), method)
            secrets = secrets_of(response)
            held = secrets["default"].tls_certificate
            assert ids_in(held.certificate_chain.inline_bytes) == [str(spiffe_id(account))]
            roots = secrets["ROOTCA"].validation_context.trusted_ca.inline_bytes
            assert roots == plane.ca.authority.bundle().pem
            found.setdefault(account, []).append(held.private_key.inline_bytes)
    assert len({key for keys in found.values() for key in keys}) == 3


async def test_a_caller_cannot_ask_for_anothers_secret_by_its_name(plane):
    async with channel_of(plane, member(plane, "reviews")) as channel:
        names = ("ROOTCA", str(spiffe_id("ratings")), "file:/etc/passwd", "ratings")
        response = await asked(channel, request(SECRET, *names))
        assert set(secrets_of(response)) == {"ROOTCA"}


async def test_no_key_is_in_what_is_shown_of_the_control_plane(plane):
    async with channel_of(plane, member(plane, "reviews")) as channel:
        await asked(channel, request(SECRET, "default"))
        assert "PRIVATE KEY" not in repr(plane.status)


async def test_new_roots_are_told_to_those_who_asked_for_them(plane):
    async with channel_of(plane, member(plane, "reviews")) as channel:
        call = channel.stream_stream(ADS)()
        await call.write(request(SECRET, "ROOTCA"))
        kind = message_class(f"{DISCOVERY}.DiscoveryResponse")
        first = kind.FromString(await call.read())
        await call.write(
            request(SECRET, "ROOTCA", version_info=first.version_info, response_nonce=first.nonce)
        )
        plane.ca.authority.rotate(time.time())
        async with asyncio.timeout(2.0):
            second = kind.FromString(await call.read())
        told = secrets_of(second)["ROOTCA"].validation_context.trusted_ca.inline_bytes
        assert told.count(b"BEGIN CERTIFICATE") == 2


async def test_the_stream_of_who_is_revoked_is_cut(plane):
    async with channel_of(plane, member(plane, "reviews")) as channel:
        call = channel.stream_stream(ADS)()
        await call.write(request(SECRET, "ROOTCA"))
        await call.read()
        plane.ca.authority.revoke(str(spiffe_id("reviews")), time.time())
        async with asyncio.timeout(5.0):
            with pytest.raises(grpc.aio.AioRpcError):
                await call.read()
        assert await refused(channel, request()) in (UNKNOWN, grpc.StatusCode.UNAVAILABLE)


def workload(**told):
    fields = {"id": "1", "port": 9080, "labels": (("app", "reviews"),), **told}
    return encode_request(Request(workload=Workload(**fields)))


async def test_members_register_in_their_own_namespace_and_under_their_own_account(plane):
    async with channel_of(plane, member(plane, "reviews")) as channel:
        call = channel.stream_stream(REGISTER)()
        await call.write(workload())
        await call.read()
        (found,) = plane._registry.workloads
        assert found.service_account == "reviews"
        other = channel.stream_stream(REGISTER)()
        await other.write(workload(id="2", namespace="payments"))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await other.read()
        assert error.value.code() is DENIED


async def test_strangers_register_nothing(plane):
    async with channel_of(plane) as channel:
        call = channel.stream_stream(REGISTER)()
        await call.write(workload())
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call.read()
        assert error.value.code() is UNKNOWN


# -- getting a certificate -----------------------------------------------------------------------


class Heard:
    """What a source said, one after the other."""

    def __init__(self, source):
        self.source = source
        self._loop = asyncio.get_running_loop()
        self._queue = asyncio.Queue()
        source.watch(self._put)

    def _put(self, credentials):
        self._loop.call_soon_threadsafe(self._queue.put_nowait, credentials)

    async def until(self, test):
        async with asyncio.timeout(20):
            while not test(found := await self._queue.get()):
                pass
        return found


@asynccontextmanager
async def source_of(address, **options):
    made = CaSource(
        address, wall=time.time, monotonic=time.monotonic, dice=random.random, **options
    )
    heard = Heard(made)
    made.start()
    try:
        yield heard
    finally:
        await asyncio.to_thread(made.close)


def address_of(plane, account, tmp_path, **options):
    token = JoinTokens(FolderStore(tmp_path / "ca")).create(spiffe_id(account), time.time())
    roots = plane.ca.authority.bundle().pem
    fields = {"target": plane.address, "roots": lambda: roots, "token": lambda: token, **options}
    return CaAddress(**fields)


async def test_a_join_token_is_enough_for_a_lifetime_of_certificates(plane, tmp_path):
    async with source_of(address_of(plane, "reviews", tmp_path), ttl=2.0) as heard:
        first = await heard.until(lambda _: True)
        later = await heard.until(lambda found: found.svid.serial != first.svid.serial)
        assert later.svid.spiffe_id == first.svid.spiffe_id == str(spiffe_id("reviews"))
        assert later.derived_names


async def test_members_hear_of_a_revocation(plane, tmp_path):
    async with source_of(address_of(plane, "reviews", tmp_path)) as heard:
        await heard.until(lambda found: found.bundles["cluster.local"].sequence > 0)
        plane.ca.authority.revoke(str(spiffe_id("ratings")), time.time())
        await heard.until(lambda found: found.revoked == {str(spiffe_id("ratings"))})


async def test_members_hear_of_the_next_root_before_it_signs(plane, tmp_path):
    async with source_of(address_of(plane, "reviews", tmp_path)) as heard:
        await heard.until(lambda found: found.bundles["cluster.local"].sequence > 0)
        plane.ca.authority.rotate(time.time())
        await heard.until(lambda found: len(found.bundles["cluster.local"].roots) == 2)


async def test_after_an_emergency_who_can_prove_it_has_another_certificate(plane, tmp_path):
    address = CaAddress(target=f"unix:{tmp_path}/ca.sock", spiffe_id=str(spiffe_id("reviews")))
    async with source_of(address) as heard:
        first = await heard.until(lambda found: found.bundles["cluster.local"].sequence > 0)
        plane.ca.authority.rotate(time.time(), emergency=True)
        second = await heard.until(lambda found: found.svid.serial != first.svid.serial)
        (root,) = second.bundles["cluster.local"].roots
        assert root not in first.bundles["cluster.local"].roots
        async with channel_of(plane, second.svid) as channel:
            assert (await asked(channel, request(SECRET, "ROOTCA"))).type_url == SECRET
        async with channel_of(plane, first.svid) as channel:
            assert await refused(channel, request()) is grpc.StatusCode.UNAVAILABLE


async def test_on_this_machine_a_user_needs_no_token(plane, tmp_path):
    address = CaAddress(target=f"unix:{tmp_path}/ca.sock", spiffe_id=str(spiffe_id("reviews")))
    async with source_of(address) as heard:
        found = await heard.until(lambda _: True)
        assert found.svid.spiffe_id == str(spiffe_id("reviews"))


async def test_a_ca_of_another_root_is_not_believed(plane):
    foreign = Authority.create(MemoryStore(), TrustDomain("cluster.local"), time.time())
    async with channel_of(plane, roots=foreign.bundle().pem) as channel:
        assert await refused(channel, request()) is grpc.StatusCode.UNAVAILABLE


async def test_the_root_may_be_pinned_by_its_hash(plane):
    (root,) = plane.ca.authority.bundle().roots
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(root.decode())).hexdigest()
    assert await asyncio.to_thread(pinned_root, plane.address, digest) == root
    with pytest.raises(IdentityError, match="pinned"):
        await asyncio.to_thread(pinned_root, plane.address, "0" * 64)


async def test_a_folder_that_others_can_read_is_no_ca(tmp_path):
    (tmp_path / "ca").mkdir(mode=0o755)
    (tmp_path / "ca" / "anything").write_text("")
    with pytest.raises(IdentityError, match="chmod 700"):
        ControlPlane([], ca=tmp_path / "ca")


async def test_a_ca_and_credentials_of_ones_own_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="not both"):
        ControlPlane([], ca=tmp_path, credentials=grpc.ssl_server_credentials([(b"", b"")]))


async def test_connections_that_are_cut_at_the_end_are_no_surprise(tmp_path, caplog):
    plane = ControlPlane([], listen="127.0.0.1:0", ca=tmp_path / "ca")
    async with plane, channel_of(plane) as channel:
        await channel.channel_ready()
        await plane.stop()
    assert not [said for said in caplog.records if said.name == "asyncio"]


async def test_a_taken_port_is_said_and_nothing_is_left_behind(plane, tmp_path):
    other = ControlPlane([], listen=plane.address, ca=tmp_path / "other")
    with pytest.raises(MeshError, match="is the port taken"):
        await other.start()
    assert not other._server._front._folder.exists()


@pytest.mark.parametrize(("said", "found"), [("other.example", 1), ("cluster.local", 0)])
async def test_another_trust_domain_than_that_of_the_ca_is_told(tmp_path, caplog, said, found):
    mesh = {
        "kind": "MeshConfig",
        "trustDomain": said,
    }
    async with ControlPlane([mesh], listen="127.0.0.1:0", ca=tmp_path / "ca"):
        told = [one for one in caplog.messages if one.startswith("ML1009")]
    assert len(told) == found
    assert all("trustDomain is other.example, and the CA's is cluster.local" in one for one in told)


async def test_the_roots_of_a_federated_domain_are_a_secret_of_its_name(plane):
    other = Authority.create(MemoryStore(), TrustDomain("other.example"), time.time())
    plane.ca.authority.federate(other.trust_domain, other.bundle().pem)
    async with channel_of(plane, member(plane, "reviews")) as channel:
        asked_for = request(SECRET, "spiffe://other.example", "spiffe://nobody.example")
        secrets = secrets_of(await asked(channel, asked_for))
    assert list(secrets) == ["spiffe://other.example"]
    trusted = secrets["spiffe://other.example"].validation_context.trusted_ca
    assert trusted.inline_bytes == other.bundle().pem


async def test_members_hear_whom_to_believe_of_other_domains(plane, tmp_path):
    address = CaAddress(target=f"unix:{tmp_path}/ca.sock", spiffe_id=str(spiffe_id("reviews")))
    source = CaSource(address, wall=time.time, monotonic=time.monotonic, dice=random.random)
    heard = asyncio.Queue()
    loop = asyncio.get_running_loop()
    source.watch(lambda found: loop.call_soon_threadsafe(heard.put_nowait, found))
    source.start()
    try:
        other = Authority.create(MemoryStore(), TrustDomain("other.example"), time.time())
        plane.ca.authority.federate(other.trust_domain, other.bundle().pem)
        while "other.example" not in (found := await heard.get()).bundles:
            pass
        assert found.bundles["other.example"].pem == other.bundle().pem
        plane.ca.authority.federate(other.trust_domain, b"")
        while (found := await heard.get()).bundles["other.example"].roots:
            pass
    finally:
        await asyncio.to_thread(source.close)
