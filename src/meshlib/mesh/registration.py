"""A member adds itself to its service, at the control plane, for as long as it lives."""

import logging
import os
import queue
import random  # noqa: TID251 - the one floor where luck comes in
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from ..errors import ConfigError, MeshError, Problem
from ..xds.backoff import Reconnects
from ..xds.bootstrap_servers import Server
from ..xds.registration import Acknowledged, Ended, News, RegisterStream, Request, Workload
from .options import Options

log = logging.getLogger("meshlib")

LONGEST_WAIT = 3.0
"""Between two attempts: shorter than the grace, so that a control plane that comes back is told
in time."""
LOCAL = ("127.0.0.1:", "localhost:", "[::1]:", "unix:", "ipv4:127.0.0.1:", "ipv6:[::1]:")
CLOSING = 5.0
Port = int | Mapping[str, int]
Inbound = Callable[[], tuple[str, Mapping[str, int]]]
"""What the member wants of its callers, and how many came in plain text, by who they were."""


class Registration:
    """``with mesh.register(port=…)``: this process is an endpoint of its service.

    One thread keeps the stream to the control plane, and opens another when it breaks. Leaving
    the block takes the endpoint away first, and then waits ``linger`` seconds so that callers
    hear of it before the server stops.
    """

    def __init__(
        self,
        workload: Workload,
        server: Callable[[], Server],
        *,
        token: str | None = None,
        linger: float = 1.0,
        inbound: Inbound | None = None,
    ) -> None:
        self._inbound = inbound
        self._workload = workload
        self._server = server
        self._token = token
        self._linger = linger
        self._reconnects = Reconnects(random.random, cap=LONGEST_WAIT)
        self._mailbox: queue.SimpleQueue[News | None] = queue.SimpleQueue()
        self._known = threading.Event()
        self._answer: Acknowledged | None = None
        self._since = 0.0
        self._error = ""
        self._refused = self._leaving = self._hurries = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="meshlib-registration", daemon=True)

    def start(self, timeout: float) -> None:
        """Wait for the control plane's word; without it, it is asked on while the member serves.

        Raises :class:`MeshError` if it refuses.
        """
        self._thread.start()
        if not self._known.wait(timeout):
            said = self._error or "no answer yet"
            log.warning("not registered yet, it is tried on: %s", said)
        elif self._refused:
            raise MeshError(f"the control plane does not let this member register: {self._error}")

    def set(self, *, serving: bool) -> None:
        """Whether callers may be sent here; the lease is kept."""
        self._workload = replace(self._workload, serving=serving)
        self._mailbox.put(None)

    def hurry(self) -> None:
        """The control plane was reached again: ask it now."""
        self._hurries = True
        self._mailbox.put(None)

    def deregister(self) -> None:
        """Take the endpoint away; every later call does nothing."""
        if self._leaving or self._pid != os.getpid():  # a forked child is not the endpoint
            return
        was_known, self._leaving = self._answer is not None, True
        self._mailbox.put(None)
        self._thread.join(CLOSING)
        if was_known and self._linger > 0:
            time.sleep(self._linger)

    close = deregister

    def status(self) -> dict[str, Any]:
        answer = self._answer
        return {
            "registered": answer is not None,
            "address": answer.address if answer is not None else self._workload.address,
            "hosts": list(answer.hosts) if answer is not None else [],
            "serving": self._workload.serving,
            "error": self._error or None,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.deregister()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """:meth:`deregister` for coroutines."""
        import asyncio

        await asyncio.to_thread(self.deregister)

    # --- the thread ---

    def _run(self) -> None:
        while not self._leaving and not self._refused:
            self._rest(self._converse())

    def _converse(self) -> float:
        """One stream, from its beginning to its end; seconds until there may be another."""
        self._hurries = False
        try:
            stream = RegisterStream(self._server(), self._token, self._mailbox.put)
        except (ConfigError, ValueError, OSError, RuntimeError) as error:
            return self._ended(Ended(str(error)))
        try:
            return self._ended(self._talk(stream))
        finally:
            stream.close()

    def _talk(self, stream: RegisterStream) -> Ended:
        told = self._workload
        stream.send(self._request(told))
        while True:
            match self._next():
                case (of, Acknowledged() as answer) if of is stream:
                    self._acknowledged(answer)
                case (of, Ended() as ended) if of is stream:
                    return ended
                case _ if self._leaving:
                    self._leave(stream)
                    return Ended("")
                case None:
                    changed, told = told != self._workload, self._workload
                    stream.send(self._request(told if changed else None))
                case _:
                    pass  # of a stream that was given up

    def _request(self, told: Workload | None) -> Request:
        if self._inbound is None:
            return Request(workload=told)
        mtls, callers = self._inbound()
        return Request(workload=told, mtls=mtls, plaintext_callers=tuple(callers.items()))

    def _leave(self, stream: RegisterStream) -> None:
        """What was said before is answered before."""
        stream.send(Request(deregister=True))
        until = time.monotonic() + (CLOSING / 2 if self._answer is not None else CLOSING / 10)
        while (left := until - time.monotonic()) > 0:
            try:
                news = self._mailbox.get(timeout=left)
            except queue.Empty:
                return
            if news is not None and news[0] is stream and isinstance(news[1], Ended):
                return

    def _next(self) -> News | None:
        """``None``: a heartbeat is due, or something changed."""
        beat = self._answer.lease / 3 if self._answer is not None else LONGEST_WAIT
        try:
            return self._mailbox.get(timeout=max(0.05, beat))
        except queue.Empty:
            return None

    def _acknowledged(self, answer: Acknowledged) -> None:
        if self._answer is None:
            self._since, self._error = time.monotonic(), ""
            self._reconnects.answered()
            log.info("registered as %s, an endpoint of %s", answer.address, answer.hosts)
            if not answer.hosts:
                labels = dict(self._workload.labels)
                log.warning("registered, but no service selects the labels %s", labels)
        self._answer = answer
        self._known.set()

    def _ended(self, ended: Ended) -> float:
        answer, self._answer = self._answer, None
        if self._leaving:
            return 0.0
        if ended.status != self._error:
            log.warning("registration: %s", ended.status)
        self._error = ended.status
        if ended.refused and not self._known.is_set():
            self._refused = True
            self._known.set()
        if answer is None:
            return self._reconnects.after_failure()
        return self._reconnects.after_life(time.monotonic() - self._since)

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not (self._leaving or self._refused or self._hurries):
            try:
                self._mailbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return


def registration_of(  # noqa: PLR0913 - one keyword an option
    options: Options,
    server: Callable[[], Server] | None,
    *,
    port: Port,
    address: str | None,
    labels: Mapping[str, str] | None,
    weight: int,
    token: str | None,
    linger: float,
    inbound: Inbound | None = None,
) -> Registration:
    """Raises :class:`ConfigError` where there is nobody to register with, or for what."""
    if server is None:
        raise ConfigError(Problem("Mesh.register", "there is no control plane to register with"))
    place = options.locality
    told = options.all_labels | dict(labels or {})
    if not told:
        said = "a member without service and labels is an endpoint of nothing"
        raise ConfigError(Problem("Mesh.register", said))
    workload = Workload(
        id=str(uuid4()),
        namespace=options.namespace,
        address=address or "",
        port=port if isinstance(port, int) else 0,
        ports=() if isinstance(port, int) else tuple(sorted(port.items())),
        labels=tuple(sorted(told.items())),
        locality=f"{place.region}/{place.zone}/{place.sub_zone}".rstrip("/"),
        weight=weight,
    )
    token = token or os.environ.get("MESHLIB_REGISTRATION_TOKEN") or None
    if token and not server().is_secure:
        uri = server().server_uri
        if not uri.startswith(LOCAL):
            log.warning("the registration token goes to %s in plaintext", uri)
    return Registration(workload, server, token=token, linger=linger, inbound=inbound)
