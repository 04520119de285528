"""The admin ports of this program: meshes that name the same one show side by side there."""

import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from ..errors import ConfigError
from ..exposition import Metric, Sample, pieces
from ..telemetry.metrics.member import program_metrics
from .admin_port import AdminPort
from .pages import MESH, PAGES, Answer, Asked, Member, RefusedError, index, page

log = logging.getLogger("meshlib")

NAMELESS = "unnamed"


class Shown(Protocol):
    @property
    def name(self) -> str: ...

    def own_metrics(self) -> Iterator[Metric]: ...

    def unready(self) -> str: ...

    def member(self) -> Member: ...


class SharedPort:
    """Open as long as there is anybody to show. From the second mesh on, series say of which one
    they are; with those of a mesh alone that stays as it was."""

    def __init__(self, listen: str, token: str) -> None:
        self.listen = listen
        self.token = token
        self._port = AdminPort(
            listen, token, metrics=self._pieces, unready=self._unready, page=self._page
        )
        self._shown: dict[str, Shown] = {}
        self._several = False

    @property
    def address(self) -> str | None:
        return self._port.address

    @property
    def is_idle(self) -> bool:
        return not self._shown

    def join(self, mesh: Shown) -> None:
        if mesh not in self._shown.values():
            self._shown = {**self._shown, self._free(mesh.name or NAMELESS): mesh}
            self._several = self._several or len(self._shown) > 1
        self._port.start()

    def _free(self, name: str) -> str:
        """Two meshes may have one name; what was given to one stays as long as that does."""
        found, number = name, 2
        while found in self._shown:
            found, number = f"{name}-{number}", number + 1
        return found

    def leave(self, mesh: Shown) -> None:
        self._shown = {name: one for name, one in self._shown.items() if one is not mesh}
        if not self._shown:
            self._port.close()
            self._several = False

    def begin_anew(self) -> None:
        self._port.begin_anew()

    def _pieces(self, content_type: str) -> Iterator[str]:
        yield from pieces(self._metrics(), content_type)

    def _metrics(self) -> Iterator[Metric]:
        shown = self._shown
        if self._several:
            yield from merged({name: mesh.own_metrics() for name, mesh in shown.items()})
        else:
            for mesh in shown.values():
                yield from mesh.own_metrics()
        yield from program_metrics()

    def _page(self, asked: Asked) -> Answer:
        shown = self._shown
        if asked.path in ("/", "/help"):
            return index(asked, shown)
        if asked.path not in PAGES:
            raise RefusedError(f"there is no {asked.path[:100]!r}; / says what there is", 404)
        try:
            return page(_chosen(asked, shown).member(), asked)
        except ConfigError as error:
            raise RefusedError(str(error), 503) from error

    def _unready(self) -> str:
        """Who calls this program may be answered by any of its meshes: all are to be ready."""
        reasons = {name: mesh.unready() for name, mesh in self._shown.items()}
        if not self._several:
            return "".join(reasons.values())
        return "\n".join(f"{name}: {why}" for name, why in reasons.items() if why)


def _chosen(asked: Asked, shown: Mapping[str, Shown]) -> Shown:
    """One page is of one mesh. Raises :class:`RefusedError`."""
    named = asked.last(MESH, "")
    if named in shown:
        return shown[named]
    if named or len(shown) != 1:
        raise RefusedError(f"?{MESH}= has to be one of: {', '.join(shown)}")
    return next(iter(shown.values()))


def merged(told: Mapping[str, Iterable[Metric]]) -> Iterable[Metric]:
    """Each metric once, with the samples of all."""
    found: dict[str, Metric] = {}
    for name, metrics in told.items():
        for metric in metrics:
            samples = [Sample((*one.labels, (MESH, name)), one.value) for one in metric.samples]
            before = found[metric.name].samples if metric.name in found else ()
            found[metric.name] = replace(metric, samples=[*before, *samples])
    return found.values()


class AdminPorts:
    """Those of one process. Any free port (0) is for one mesh alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ports: list[SharedPort] = []

    def join(self, mesh: Shown, listen: str, token: str) -> SharedPort | None:
        """``None``: it is there, and for others than those who have this token."""
        with self._lock:
            port = self._named(listen)
            if port is None:
                port = SharedPort(listen, token)
                self._ports.append(port)
            elif port.token != token:
                said = "admin port %s is open for another token: %s is not shown there"
                log.error(said, listen, mesh.name or NAMELESS)
                return None
            port.join(mesh)
            return port

    def _named(self, listen: str) -> SharedPort | None:
        if listen.endswith(":0"):
            return None
        return next((one for one in self._ports if one.listen == listen), None)

    def leave(self, mesh: Shown, port: SharedPort) -> None:
        with self._lock:
            port.leave(mesh)
            self._ports = [one for one in self._ports if one is not port or not port.is_idle]

    def begin_anew(self) -> None:
        """In a forked child: sockets and threads are the parent's."""
        self._lock = threading.Lock()
        for port in self._ports:
            port.begin_anew()
        self._ports.clear()


PORTS = AdminPorts()
os.register_at_fork(after_in_child=PORTS.begin_anew)
