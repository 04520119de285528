"""What endpoints say of their own load (ORCA), and the weight that follows (gRFC A58)."""

from collections.abc import Iterable

from ...model.load import LoadReport


class Load:
    """The weight that the reports of one endpoint make: calls a second per utilization.

    ``since`` is when the current row of usable reports began, ``updated`` when the last one came.
    """

    __slots__ = ("since", "updated", "weight")

    def __init__(self) -> None:
        self.weight = 0.0
        self.since: float | None = None
        self.updated = 0.0

    def report(
        self, utilization: float, qps: float, eps: float, now: float, *, penalty: float = 1.0
    ) -> None:
        """Take in a report; one without calls or utilization says nothing and is passed over."""
        if utilization <= 0 or qps <= 0:
            return
        self.weight = qps / (utilization + eps / qps * penalty)
        self.updated = now
        if self.since is None:
            self.since = now

    @property
    def is_stale(self) -> bool:
        """Was there a weight that is too old by now, when it was last asked for?"""
        return self.since is None and self.weight > 0

    def weight_at(self, now: float, *, blackout: float, expiration: float) -> float:
        """0 where there is no telling: reports too old, or too young to be trusted."""
        if self.since is None:
            return 0.0
        if now - self.updated >= expiration:
            self.since = None
            return 0.0
        if blackout > 0 and now - self.since < blackout:
            return 0.0
        return self.weight


def utilization(report: LoadReport, names: Iterable[str]) -> float:
    """What the application says itself; else the worst of the named metrics; else the CPU."""
    if report.application_utilization > 0:
        return report.application_utilization
    named = max((_metric(report, name) for name in names), default=0.0)
    return named if named > 0 else report.cpu_utilization


def _metric(report: LoadReport, name: str) -> float:
    """``named_metrics.foo`` is one of the application's own (gRFC A114)."""
    prefix, _, key = name.partition(".")
    if prefix == "named_metrics" and key:
        return report.named.get(key, 0.0)
    return {
        "cpu_utilization": report.cpu_utilization,
        "mem_utilization": report.mem_utilization,
    }.get(name, 0.0)
