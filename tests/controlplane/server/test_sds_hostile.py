"""What a member may try to have of others' secrets, or to keep the CA busy (CVE-2021-34824)."""

import asyncio
import time
from contextlib import asynccontextmanager

import grpc
import pytest
from cryptography import x509

from meshlib.controlplane import ControlPlane
from meshlib.identity.spiffe import SpiffeId
from meshlib.xds.protos import message_class
from meshlib.xds.types import SECRET

DISCOVERY = "envoy.service.discovery.v3"
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SDS = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
FETCH = "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets"


def spiffe_id(account):
    return SpiffeId.parse(f"spiffe://cluster.local/ns/default/sa/{account}")


@pytest.fixture
async def plane(tmp_path):
    async with ControlPlane([], listen="127.0.0.1:0", ca=tmp_path / "ca") as made:
        yield made


@pytest.fixture
def channel_of(plane):
    @asynccontextmanager
    async def channel(account):
        svid = plane.ca.authority.issue(spiffe_id(account), time.time())
        roots = plane.ca.authority.bundle().pem
        made = grpc.ssl_channel_credentials(roots, svid.private_key, svid.certificate_chain)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.secure_channel(plane.address, made, options) as opened:
            yield opened

    return channel


class Stream:
    """A delta stream of secrets, by a node that calls itself ``named``."""

    def __init__(self, channel, method, named="anybody"):
        self._call = channel.stream_stream(method)()
        self._named = named

    async def ask(self, *names, less=(), nonce=""):
        request = message_class(f"{DISCOVERY}.DeltaDiscoveryRequest")(
            type_url=SECRET,
            resource_names_subscribe=names,
            resource_names_unsubscribe=less,
            response_nonce=nonce,
        )
        request.node.id = self._named
        request.node.metadata.update({"NAMESPACE": "default"})
        await self._call.write(request.SerializeToString())

    async def read(self):
        kind = message_class(f"{DISCOVERY}.DeltaDiscoveryResponse")
        response = kind.FromString(await self._call.read())
        await self.ask(nonce=response.nonce)
        made = message_class("envoy.extensions.transport_sockets.tls.v3.Secret")
        return {one.name: made.FromString(one.resource.value) for one in response.resources}


def owner(secret):
    pem = secret.tls_certificate.certificate_chain.inline_bytes
    sans = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return sans.value.get_values_for_type(x509.UniformResourceIdentifier)


@pytest.mark.parametrize("method", [ADS, SDS])
async def test_who_calls_himself_like_another_is_given_his_own_while_that_ones_is_warm(
    channel_of, method
):
    """The same node id, the same name of the secret, at the same time: two identities."""
    async with channel_of("reviews") as victims, channel_of("ratings") as thiefs:
        keys = set()
        first, second = Stream(victims, method, "reviews"), Stream(thiefs, method, "reviews")
        for stream, account in ((first, "reviews"), (second, "ratings")):
            await stream.ask("default")
            secret = (await stream.read())["default"]
            assert owner(secret) == [str(spiffe_id(account))]
            keys.add(secret.tls_certificate.private_key.inline_bytes)
        assert len(keys) == 2


async def test_who_asks_for_everything_is_given_no_key(channel_of):
    async with channel_of("reviews") as channel:
        stream = Stream(channel, SDS)
        await stream.ask("*", "ROOTCA")
        assert set(await stream.read()) == {"ROOTCA"}


async def test_a_single_answer_holds_no_key(channel_of):
    async with channel_of("reviews") as channel:
        request = message_class(f"{DISCOVERY}.DiscoveryRequest")(resource_names=["default"])
        request.node.id = "reviews"
        request.node.metadata.update({"NAMESPACE": "default"})
        answer = await channel.unary_unary(FETCH)(request.SerializeToString(), timeout=10)
        assert b"PRIVATE KEY" not in answer


async def test_who_asks_again_and_again_is_renewed_once_at_a_time(channel_of, plane):
    async with channel_of("reviews") as channel:
        stream = Stream(channel, SDS)
        await stream.ask("default")
        await stream.read()
        (own,) = plane._server._secrets._open
        before = own._timer
        await stream.ask("ROOTCA", less=("default",))
        await stream.read()
        await stream.ask("default")
        await stream.read()
        assert own._timer is not before
        assert before.cancelled()


async def test_a_key_is_not_renewed_for_who_went_away(channel_of, plane):
    async with channel_of("reviews") as channel:
        stream = Stream(channel, SDS)
        await stream.ask("default")
        await stream.read()
        (own,) = plane._server._secrets._open
        stream._call.cancel()
        while plane._server._secrets._open:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
        assert own._timer.cancelled()
