"""What the program's sampler would say, where that can be known without asking it."""

from typing import NamedTuple

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

LOW = (1 << 64) - 1
"""The bits of a trace id that decide."""


class Share(NamedTuple):
    """Of new traces, those whose ids are below."""

    bound: int

    def takes(self, trace_id: int) -> bool:
        return (trace_id & LOW) < self.bound


ALL = Share(LOW + 1)


def obeys_parents(sampler: Sampler | None) -> bool:
    """Does the program's sampler leave it to the caller? If nobody knows, then yes."""
    return sampler is None or isinstance(sampler, ParentBased)


def share_of(sampler: Sampler | None) -> Share:
    """Which new traces the sampler may want; of others it need not be asked."""
    if type(sampler) is ParentBased:
        sampler = getattr(sampler, "_root", None)
    if sampler is ALWAYS_OFF:
        return Share(0)
    return Share(sampler.bound) if type(sampler) is TraceIdRatioBased else ALL
