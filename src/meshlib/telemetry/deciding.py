"""What the program's sampler would say, where that can be known without asking it."""

from typing import NamedTuple

from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)

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
    if _is_usual(sampler):
        sampler = getattr(sampler, "_root", None)
    if sampler is ALWAYS_OFF:
        return Share(0)
    return Share(sampler.bound) if type(sampler) is TraceIdRatioBased else ALL


def _is_usual(sampler: Sampler | None) -> bool:
    return isinstance(sampler, ParentBased) and (
        type(sampler).should_sample is ParentBased.should_sample
    )


def is_foreseen(sampler: Sampler | None) -> bool:
    """Is all known of the sampler once its share of new traces is known, and obeyed?"""
    if sampler is ALWAYS_ON:
        return True
    if not _is_usual(sampler):
        return False
    root, *others = (getattr(sampler, f"_{name}", None) for name in DECIDING)
    known = root is ALWAYS_ON or root is ALWAYS_OFF or type(root) is TraceIdRatioBased
    return known and others == [ALWAYS_ON, ALWAYS_OFF, ALWAYS_ON, ALWAYS_OFF]


DECIDING = (
    "root",
    "remote_parent_sampled",
    "remote_parent_not_sampled",
    "local_parent_sampled",
    "local_parent_not_sampled",
)
"""Whom a ParentBased sampler asks."""
