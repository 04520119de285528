"""Who may register: what the peer's address and its token decide."""

import grpc
import pytest

from meshlib.controlplane.metrics import Metrics
from meshlib.controlplane.registration import Registrations, peer_of
from meshlib.controlplane.registry import Registry
from meshlib.testing.clock import FakeClock


class Call:
    def __init__(self, peer, metadata=()):
        self._peer = peer
        self._metadata = metadata

    def peer(self):
        return self._peer

    def invocation_metadata(self):
        return self._metadata

    async def abort(self, code, said):
        self.aborted = code


async def nothing():
    return
    yield


async def refused(token, peer, *metadata):
    metrics = Metrics()
    registry = Registry(FakeClock())
    made = Registrations(registry, metrics, lambda: None, lambda _: (), token=token)
    call = Call(peer, metadata)
    await made._serve(nothing(), call)
    assert sum(metrics.refused_registrations.values()) == hasattr(call, "aborted")
    return getattr(call, "aborted", None)


@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:5", "ipv6:%5B::1%5D:5", "unix:"])
async def test_without_a_token_members_on_the_same_machine_may_register(peer):
    assert await refused(None, peer) is None


@pytest.mark.parametrize("peer", ["ipv4:10.0.0.1:5", "ipv6:[fd00::1]:5", "vsock:3", ""])
async def test_without_a_token_nobody_else_may_register(peer):
    given = ("authorization", "Bearer None")
    assert await refused(None, peer, given) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("given", ["Bearer wrong", "sesame", "bearer", "", b"Bearer sesame"])
async def test_a_token_is_asked_of_everybody(given):
    peer = "ipv4:127.0.0.1:5"
    said = ("authorization", given)
    assert await refused("sesame", peer, said) is grpc.StatusCode.UNAUTHENTICATED
    assert await refused("sesame", "ipv4:10.0.0.1:5", ("authorization", "Bearer sesame")) is None


def test_the_peer_is_known_by_its_address():
    assert peer_of("ipv4:10.0.0.1:5000") == "10.0.0.1"
    assert peer_of("ipv6:%5Bfd00::1%5D:5000") == "fd00::1"
