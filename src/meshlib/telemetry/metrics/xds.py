"""gRPC's metrics of xDS clients (gRFC A78, A88), out of what the client says of itself."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ...exposition import Kind, Labels, Metric, Sample

TARGET = ("grpc.target", "#mesh")
"""One client serves all targets of a mesh."""

KEPT = frozenset({"does_not_exist", "nacked", "received_error"})
"""States of resources that gRFC A88 keeps in use, if they are there, and says so of. Nobody waits
any more for one that is there, so that there is no time to be out."""


def xds_metrics(status: Mapping[str, Any]) -> Iterator[Metric]:
    """``status`` of a source that is a control plane; of others there is nothing to tell."""
    if status.get("kind") != "xds":
        return
    connected = [
        Sample((TARGET, ("grpc.xds.server", one["server"])), float(one["connected"]))
        for one in status["servers"]
    ]
    failures = [
        Sample((TARGET, ("grpc.xds.server", one["server"])), one["failures"])
        for one in status["servers"]
    ]
    named = "grpc.xds_client"
    text = "1 where a working stream to the control plane is open."
    yield Metric(f"{named}.connected", Kind.GAUGE, text, connected, "{bool}")
    text = "Streams that ended without a word."
    yield Metric(f"{named}.server_failure", Kind.COUNTER, text, failures, "{failure}")
    for valid, text in (("valid", "Resources accepted."), ("invalid", "Resources refused.")):
        found = [
            Sample(
                (
                    TARGET,
                    ("grpc.xds.server", status["server"]),
                    ("grpc.xds.resource_type", _short(url)),
                ),
                told[valid],
            )
            for url, told in status["types"].items()
        ]
        name = f"{named}.resource_updates_{valid}"
        yield Metric(name, Kind.COUNTER, text, found, "{resource}")
    text = "Resources by what is known of them."
    yield Metric(f"{named}.resources", Kind.GAUGE, text, list(_resources(status)), "{resource}")


def _resources(status: Mapping[str, Any]) -> Iterator[Sample]:
    states: Counter[Labels] = Counter(
        (
            TARGET,
            ("grpc.xds.authority", _authority(name)),
            ("grpc.xds.cache_state", _state(resource)),
            ("grpc.xds.resource_type", _short(url)),
        )
        for url, told in status["types"].items()
        for name, resource in told["resources"].items()
    )
    for labels, count in states.items():
        yield Sample(labels, count)


def _state(resource: Mapping[str, Any]) -> str:
    state: str = resource["state"].lower()
    return f"{state}_but_cached" if state in KEPT and resource["cached"] else state


def _authority(name: str) -> str:
    """``#old``: of names of before there were authorities."""
    return name.removeprefix("xdstp://").partition("/")[0] if name.startswith("xdstp:") else "#old"


def _short(type_url: str) -> str:
    return type_url.rpartition("/")[2]
