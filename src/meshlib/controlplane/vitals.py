"""What the program of the control plane takes, by the names that Prometheus has for it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..exposition import Kind, Metric, Sample, lines

STATM = Path("/proc/self/statm")


def vitals() -> Iterator[str]:
    """Where the system does not tell how much memory is in use, nothing is said of it."""
    cpu = "Processor time, of the program and of the system for it."
    yield from lines(_metric("process_cpu_seconds_total", Kind.COUNTER, cpu, time.process_time()))
    resident = _resident()
    if resident is not None:
        memory = "Memory that is not swapped out."
        yield from lines(_metric("process_resident_memory_bytes", Kind.GAUGE, memory, resident))


def _metric(name: str, kind: Kind, text: str, value: float) -> Metric:
    return Metric(name, kind, text, [Sample((), value)])


def _resident() -> int | None:
    try:
        pages = int(STATM.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
