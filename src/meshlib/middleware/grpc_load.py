"""A server that says how loaded it is (ORCA, gRFC A51), so that clients can spare it (A58)."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio

from ..clock import Clock
from ..dataplane import Outcome
from ..model.load import LoadReport
from ._binary import BinaryMetadata
from ._grpc_status import grpc_status

SERVICE = "xds.service.orca.v3.OpenRcaService"
WINDOW = 1.0
"""Seconds over which calls, errors and time on processors are counted."""


class LoadReporter:
    """What this server says of its load with each answer. May be used from any thread.

    Whatever is not recorded is measured: ``cpu_utilization`` as this process' share of the
    processors it may run on, ``rps`` and ``eps`` as the calls served a second and those of them
    that failed. Utilizations are of 1 (``application_utilization`` and ``cpu_utilization`` may be
    more), rates a second. ``None`` ends what was recorded.
    """

    def __init__(
        self,
        binary: BinaryMetadata,
        clock: Clock,
        *,
        cpu: Callable[[], float] = time.process_time,
        cpus: int | None = None,
    ) -> None:
        self._binary = binary
        self._clock = clock
        self._cpu = cpu
        self._cpus = cpus or processors()
        self._recorded: dict[str, float] = {}
        self._named: dict[str, float] = {}
        self._lock = threading.Lock()
        self._calls = self._errors = 0
        self._since, self._cpu_since = clock(), cpu()
        self._measured = {"rps": 0.0, "eps": 0.0, "cpu_utilization": 0.0}
        self._written: bytes | None = None

    def record_application_utilization(self, value: float | None) -> None:
        """Load in the application's own measure; clients prefer it to that of the processors."""
        self._record("application_utilization", value)

    def record_cpu_utilization(self, value: float | None) -> None:
        self._record("cpu_utilization", value)

    def record_memory_utilization(self, value: float | None) -> None:
        self._record("mem_utilization", value, most=1.0)

    def record_rps(self, value: float | None) -> None:
        self._record("rps", value)

    def record_eps(self, value: float | None) -> None:
        self._record("eps", value)

    def record_utilization(self, name: str, value: float | None) -> None:
        """A further resource, 0 to 1: clients call it ``utilization.<name>``."""
        self._record(f"utilization.{name}", value, most=1.0, named=True)

    def record_metric(self, name: str, value: float | None) -> None:
        """Any other number: clients call it ``named_metrics.<name>``."""
        self._record(name, value, named=True)

    def _record(
        self, name: str, value: float | None, *, most: float = float("inf"), named: bool = False
    ) -> None:
        if value is not None and not 0 <= value <= most:
            raise ValueError(f"{name} is a number from 0 to {most:g}, not {value!r}")
        with self._lock:
            table = self._named if named else self._recorded
            if value is None:
                table.pop(name, None)
            else:
                table[name] = value
            self._written = None

    def served(self, outcome: Outcome) -> bytes:
        """Count a call; the report that goes with its answer."""
        with self._lock:
            self._calls += 1
            if grpc_status(outcome):
                self._errors += 1
            return self._report()

    def report(self) -> bytes:
        with self._lock:
            return self._report()

    def _report(self) -> bytes:
        now = self._clock()
        if now - self._since >= WINDOW:
            self._measure(now)
        if self._written is None:
            values = {**self._measured, **self._recorded}
            self._written = self._binary.write_load(LoadReport(**values, named=dict(self._named)))
        return self._written

    def _measure(self, now: float) -> None:
        """Begin a new window, and say what the last one was like."""
        passed, cpu = now - self._since, self._cpu()
        self._measured = {
            "rps": self._calls / passed,
            "eps": self._errors / passed,
            "cpu_utilization": (cpu - self._cpu_since) / passed / self._cpus,
        }
        self._calls = self._errors = 0
        self._since, self._cpu_since = now, cpu
        self._written = None


def processors() -> int:
    """How many this process may run on, where the system says so."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


Loads = list[LoadReporter]
"""Empty as long as nobody asked for reports: then answers carry none."""


class OutOfBand:
    """``OpenRcaService``: reports without calls, at the interval that the client asks for."""

    def __init__(
        self, reporter: LoadReporter, binary: BinaryMetadata, shortest_interval: float
    ) -> None:
        self._reporter = reporter
        self._binary = binary
        self._shortest = shortest_interval

    def register(self, server: Any) -> None:
        is_aio = isinstance(server, grpc.aio.Server)
        behaviour: Any = self._astream if is_aio else self._stream
        handler: Any = grpc.unary_stream_rpc_method_handler(behaviour)
        methods = {"StreamCoreMetrics": handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    def _interval(self, request: bytes) -> float:
        return max(self._binary.read_interval(request), self._shortest)

    def _stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        over = threading.Event()
        context.add_callback(over.set)
        interval = self._interval(request)
        while not over.is_set():
            yield self._reporter.report()
            over.wait(interval)

    async def _astream(self, request: bytes, _context: Any) -> AsyncIterator[bytes]:
        interval = self._interval(request)
        while True:
            yield self._reporter.report()
            await asyncio.sleep(interval)
