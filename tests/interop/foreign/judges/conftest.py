"""Envoys that have nothing of their own but the address of our control plane."""

import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from meshlib.testing.envoy import BY_ADS, Envoy, bootstrap, http2_cluster, stream_to

LABELS = {"app": "reviews"}
EDITS = "from the edit of a file to the first affected call, ms"


class Sidecar(Envoy):
    """Takes calls of the program beside it at ``address``, and those of others at ``inbound``."""

    def __init__(
        self, binary: Path, ads: str, kind: str, labels: dict[str, str], folder: Path
    ) -> None:
        self.name, self.labels = folder.name, labels
        self.address, self.inbound = loopback(), loopback()
        folder.mkdir()
        super().__init__(binary, config(self, ads, kind), folder)


@pytest.fixture
def tell_edits(
    request: pytest.FixtureRequest, tell: Callable[[str, str], None]
) -> Callable[..., None]:
    """``tell_edits(calls, [("weights", 0.1), …])``: a line of medians by the kind of edit."""

    def told(calls: int, delays: list[tuple[str, float]]) -> None:
        kinds = list(dict.fromkeys(kind for kind, _ in delays))
        numbers = [median(delay for one, delay in delays if one == kind) for kind in kinds]
        numbers.append(max(delay for _, delay in delays))
        head = "".join(f"{kind:>10}" for kind in (*kinds, "worst"))
        line = "".join(f"{1000 * one:>10.0f}" for one in numbers)
        tell(EDITS, f"{'client':<14}{'calls':>7}{'failed':>7}{head}")
        tell(EDITS, f"{request.node.callspec.id:<14}{calls:>7}{0:>7}{line}")

    return told


@pytest.fixture
def spawn_envoy(envoy: Path, tmp_path: Path) -> Iterator[Callable[..., Sidecar]]:
    """``spawn_envoy(address, "GRPC")``: under the control plane at the address, not waited for."""
    running: list[Sidecar] = []

    def spawned(ads: str, kind: str, labels: dict[str, str] = LABELS) -> Sidecar:
        running.append(Sidecar(envoy, ads, kind, labels, tmp_path / f"envoy-{len(running)}"))
        return running[-1]

    yield spawned
    for one in running:
        one.stop()


@pytest.fixture
def start_envoy(spawn_envoy: Callable[..., Sidecar]) -> Callable[..., Awaitable[Sidecar]]:
    """The same, listening by now."""

    async def started(*arguments: Any, **rest: Any) -> Sidecar:
        one = spawn_envoy(*arguments, **rest)
        await one.until_it_is_up()
        return one

    return started


def loopback() -> str:
    """An address of this machine's own that no other test listens on."""
    return f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"


def config(one: Sidecar, ads: str, kind: str) -> dict[str, Any]:
    metadata = {
        "NAMESPACE": "default",
        "LABELS": one.labels,
        "MESHLIB_LISTEN_ADDRESS": one.address,
        "MESHLIB_INBOUND_ADDRESS": one.inbound,
    }
    return bootstrap(
        clusters=[http2_cluster("ads", ads)],
        node={"id": one.name, "cluster": "reviews", "metadata": metadata},
        dynamic_resources={
            "ads_config": stream_to("ads", kind),
            "cds_config": BY_ADS,
            "lds_config": BY_ADS,
        },
    )
