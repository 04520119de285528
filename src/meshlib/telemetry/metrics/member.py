"""What a member of the mesh tells of itself, read off what there is when somebody asks."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ...clock import Clock
from ...dataplane import Engine
from ...dataplane.upstream.cluster import UpstreamCluster
from ...dataplane.upstream.health import Result
from ...dataplane.upstream.priority import levels
from ...exposition import Distribution, Kind, Labels, Metric, Sample
from ..access_log.writer import dropped
from .recorder import Recorder
from .weighing import weighing_metrics
from .xds import TARGET

STATES = ("healthy", "degraded", "unhealthy", "ejected")
PRIORITIES = ("default", "high")
FAILED = ("cluster", "response_code", "grpc_response_status", "response_flags")
OUTLIER, BACKEND = "grpc.lb.outlier_detection", "grpc.lb.backend_service"
DETECTION, UNENFORCED = f"{OUTLIER}.detection_method", f"{OUTLIER}.unenforced_reason"


@dataclass(frozen=True, slots=True)
class Facts:
    """Where to look. ``lock`` is the mesh's; ``source`` and ``identity`` are their own accounts.

    ``plaintext``: how many calls came in without TLS, by who says to have made them.
    ``push_to_apply``: seconds from a control plane's word until it was in force.
    """

    engine: Engine
    lock: AbstractContextManager[Any]
    clock: Clock
    source: Callable[[], Mapping[str, Any]]
    identity: Callable[[], Mapping[str, Any]]
    plaintext: Callable[[], Mapping[str, int]]
    push_to_apply: Callable[[], Distribution]


def member_metrics(recorder: Recorder, facts: Facts) -> Iterator[Metric]:
    yield from _of_configuration(recorder, facts)
    yield from _of_clusters(facts)
    yield from _of_retries(recorder)
    yield from _of_access(facts)
    yield from _of_faults(facts)
    yield _counter(
        "meshlib_uncounted_kinds_total",
        "Kinds of calls beyond the limit of series.",
        [((), recorder.crowded)],
    )


def program_metrics() -> Iterator[Metric]:
    """Of all members in this process together."""
    yield _counter(
        "meshlib_access_log_dropped_total",
        "Lines that were not written: too many waited, or the disk did not take them.",
        [((("path", path),), number) for path, number in dropped().items()],
    )


def _of_configuration(recorder: Recorder, facts: Facts) -> Iterator[Metric]:
    config, since = recorder.config, recorder.applied_at
    yield _counter("meshlib_config_applied_total", "Configurations.", [((), recorder.applied)])
    if config is not None and since is not None:
        info: Labels = (("version", config.version),)
        yield _gauge("meshlib_config_info", "The configuration in force.", [(info, 1)])
        age = facts.clock() - since
        yield _gauge("meshlib_config_age", "Since it is in force.", [((), age)], "s")
    text = "From a control plane's word until it is in force."
    pushed = [Sample((), facts.push_to_apply())]
    yield Metric("meshlib_push_to_apply", Kind.HISTOGRAM, text, pushed, "s")
    ends = facts.identity().get("not_after")
    if isinstance(ends, int | float):
        text = "When this member's certificate ends (Unix time)."
        yield _gauge("meshlib_certificate_expiry_timestamp", text, [((), ends)], "s")


def _of_clusters(facts: Facts) -> Iterator[Metric]:
    with facts.lock:
        live = list(facts.engine.clusters.values())
        clusters = [_Seen.of(cluster) for cluster in live]
        weighed = [(one.name, one.weighing) for one in live if one.weighing is not None]
    limits: list[tuple[Labels, tuple[int, int, int]]] = [
        ((("cluster", one.name), ("priority", priority)), numbers)
        for one in clusters
        for priority, numbers in zip(PRIORITIES, one.breakers, strict=True)
    ]
    for place, (name, text) in enumerate(
        (
            ("open", "1 where no further call is let through."),
            ("remaining", "Calls for which there is room."),
            ("active", "Calls under way."),
        )
    ):
        found = [(labels, numbers[place]) for labels, numbers in limits]
        yield _gauge(f"meshlib_circuit_breaker_{name}", text, found)
    overflows: list[tuple[Labels, float]] = [
        ((("cluster", one.name), ("priority", priority)), count)
        for one in clusters
        for priority, count in zip(PRIORITIES, one.overflows, strict=True)
    ]
    text = "Calls that a circuit breaker turned away."
    yield _counter("meshlib_circuit_breaker_overflow_total", text, overflows)
    panics = [((("cluster", one.name),), float(one.panics)) for one in clusters]
    yield _gauge("meshlib_cluster_in_panic", "1 where too few endpoints are well.", panics)
    health: list[tuple[Labels, float]] = [
        ((("cluster", one.name), ("state", state)), one.endpoints[state])
        for one in clusters
        for state in STATES
    ]
    yield _gauge("meshlib_cluster_endpoints", "Endpoints by how they are.", health)
    checks: list[tuple[Labels, float]] = [
        ((("cluster", one.name), ("result", result.value)), one.checks[result])
        for one in clusters
        if one.checks
        for result in Result
    ]
    text = "Active health checks by what came of them."
    yield _counter("meshlib_health_checks_total", text, checks)
    connections: list[tuple[Labels, float]] = [
        ((("cluster", one.name), ("result", result)), count)
        for one in clusters
        for result, count in one.connections.items()
    ]
    text = "Connections that were asked for, by what came of them."
    yield _counter("meshlib_connections_total", text, connections)
    yield from weighing_metrics(weighed)


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    breakers: tuple[tuple[int, int, int], ...]
    overflows: tuple[int, int]
    panics: bool
    endpoints: Counter[str]
    checks: Counter[Result]
    connections: Counter[str]

    @classmethod
    def of(cls, cluster: UpstreamCluster) -> "_Seen":
        balance = cluster.balance
        breakers = tuple(
            (
                int(breaker.is_open),
                max(0, breaker.limits.max_requests - breaker.concurrency.active),
                breaker.concurrency.active,
            )
            for breaker in (cluster.breaker, cluster.high)
        )
        spread = levels(balance.ranks, balance.config.healthy_panic_threshold)
        states = Counter(
            "ejected"
            if one.ejected
            else "healthy"
            if one.usable
            else "degraded"
            if one.degraded
            else "unhealthy"
            for one in balance.endpoints.values()
        )
        overflows = cluster.breaker.overflows, cluster.high.overflows
        panics = any(level.panics for level in spread)
        seen = Counter(cluster.checks), Counter(cluster.connections)
        return cls(cluster.name, breakers, overflows, panics, states, *seen)


def _of_retries(recorder: Recorder) -> Iterator[Metric]:
    retries: list[tuple[Labels, float]] = [
        ((("cluster", cluster), ("kind", kind)), count)
        for (cluster, kind), count in list(recorder.attempts.retries.items())
    ]
    yield _counter("meshlib_retries_total", "Further attempts of calls, by why.", retries)
    failed: list[tuple[Labels, float]] = [
        (tuple(zip(FAILED, key, strict=True)), count)
        for key, count in list(recorder.attempts.failed.items())
    ]
    text = "Attempts that others followed, by what came of them."
    yield _counter("meshlib_failed_attempts_total", text, failed)
    denied: list[tuple[Labels, float]] = [
        ((("cluster", cluster), ("reason", reason)), count)
        for (cluster, reason), count in list(recorder.denied.items())
    ]
    text = "Attempts that a policy wanted and did not get, by why."
    yield _counter("meshlib_retries_denied_total", text, denied)
    mirrors: list[tuple[Labels, float]] = [
        ((("cluster", cluster),), count) for cluster, count in list(recorder.mirrors.items())
    ]
    yield _counter("meshlib_mirrored_calls_total", "Copies of calls.", mirrors)
    yield from _of_ejections(recorder)


def _of_ejections(recorder: Recorder) -> Iterator[Metric]:
    """gRFC A91."""
    ejected: list[tuple[Labels, float]] = [
        ((TARGET, (BACKEND, cluster), (DETECTION, reason)), count)
        for (cluster, reason), count in list(recorder.ejections.items())
    ]
    text = "Endpoints that outlier detection left out."
    yield _counter(f"{OUTLIER}.ejections_enforced", text, ejected, unit="{ejection}")
    spared: list[tuple[Labels, float]] = [
        ((TARGET, (BACKEND, cluster), (DETECTION, reason), (UNENFORCED, why)), count)
        for (cluster, reason, why), count in list(recorder.spared.items())
    ]
    text = "Endpoints that outlier detection would have left out."
    yield _counter(f"{OUTLIER}.ejections_unenforced", text, spared, unit="{ejection}")


def _of_access(facts: Facts) -> Iterator[Metric]:
    with facts.lock:
        engine = facts.engine
        access, rates, limits = engine.access, engine.rate_limits, engine.adaptive_limits
    found = _by_place(access, "verdict")
    yield _counter("meshlib_access_total", "Calls by what policies made of them.", found)
    found = _by_place(rates, "result")
    yield _counter("meshlib_rate_limit_total", "Calls by what limits made of them.", found)
    for place, (name, text) in enumerate(
        (("limit", "Calls at once that are let in."), ("active", "Calls that are let in."))
    ):
        told: list[tuple[Labels, float]] = [
            ((("place", where),), numbers[place]) for where, numbers in limits.items()
        ]
        yield _gauge(f"meshlib_adaptive_concurrency_{name}", text, told)
    callers: list[tuple[Labels, float]] = [
        ((("caller", caller),), count) for caller, count in sorted(facts.plaintext().items())
    ]
    yield _counter("meshlib_plaintext_calls_total", "Calls without TLS, by caller.", callers)


def _of_faults(facts: Facts) -> Iterator[Metric]:
    with facts.lock:
        faults, active = facts.engine.faults, facts.engine.active_faults
    text = "Faults on purpose, and those that were to be where too many were already."
    yield _counter("meshlib_faults_total", text, _by_place(faults, "kind"))
    found: list[tuple[Labels, float]] = [((("place", place),), n) for place, n in active.items()]
    yield _gauge("meshlib_faults_active", "Calls that suffer faults now.", found)


def _by_place(counts: Mapping[str, Mapping[str, int]], called: str) -> list[tuple[Labels, float]]:
    return [
        ((("place", place), (called, name)), count)
        for place, found in counts.items()
        for name, count in found.items()
    ]


Numbers = Iterable[tuple[Labels, float]]


def _counter(name: str, text: str, found: Numbers, *, unit: str = "") -> Metric:
    return Metric(name, Kind.COUNTER, text, [Sample(*one) for one in found], unit)


def _gauge(name: str, text: str, found: Numbers, unit: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, text, [Sample(*one) for one in found], unit)
