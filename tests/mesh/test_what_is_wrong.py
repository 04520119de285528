"""Who cannot get in is told what is wrong, and not only that a socket was closed."""

import asyncio
import time

import pytest

from meshlib import Mesh
from meshlib.controlplane import ControlPlane
from meshlib.identity.authority import Authority
from meshlib.identity.spiffe import TrustDomain
from meshlib.identity.store import MemoryStore


@pytest.fixture
async def plane(tmp_path):
    async with ControlPlane([], listen="127.0.0.1:0", ca=tmp_path / "ca") as made:
        yield made


async def told(mesh, where):
    """The first thing that is said, whenever it is."""

    def ask():
        with mesh:
            while True:
                mesh.ready("reviews:9080", timeout=0.1)
                said = str(mesh.status()[where]["error"])
                if "UNAVAILABLE" in said or "MESHLIB" in said:
                    return said

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("mtls", ["auto", "strict"])
async def test_who_has_no_identity_hears_that_the_control_plane_wants_one(plane, mtls):
    said = await told(Mesh("me", control_plane=plane.address, mtls=mtls), "source")
    assert "it was asked in plain text and hung up" in said
    assert "this member needs an identity" in said


async def test_who_knows_the_ca_by_another_root_hears_so(plane, tmp_path, monkeypatch):
    other = Authority.create(MemoryStore(), TrustDomain("cluster.local"), time.time())
    (tmp_path / "root.pem").write_bytes(other.bundle().pem)
    monkeypatch.setenv("MESHLIB_CA_ROOT", str(tmp_path / "root.pem"))
    monkeypatch.setenv("MESHLIB_CA_TOKEN", "token")
    said = await told(Mesh("me", control_plane=plane.address), "identity")
    assert "what answers there is not of the roots by which the CA is known" in said


async def test_a_file_of_roots_without_any_is_named(plane, tmp_path, monkeypatch):
    (tmp_path / "root.pem").write_text("root")
    monkeypatch.setenv("MESHLIB_CA_ROOT", str(tmp_path / "root.pem"))
    said = await told(Mesh("me", control_plane=plane.address), "identity")
    assert said == f"MESHLIB_CA_ROOT: {tmp_path}/root.pem: there is no certificate in it (PEM)"
