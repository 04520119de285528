"""What can go wrong, in the caller's words. One tree under :class:`MeshError`."""

from dataclasses import dataclass, field


class MeshError(Exception):
    """The root of everything that meshlib raises by itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a source something stands: ``file:line:col`` (both from 1)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return (
            f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: where (a place, or a resource and field path), and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class ConfigError(MeshError):
    """A configuration that is refused whole; carries every problem found.

    ``str()`` gives one problem per line, each as ``where: what``.
    """

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(p if isinstance(p, Problem) else Problem("", p) for p in problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReport:
    """What the mesh knows of a call that failed; attached to the error as ``.mesh``."""

    host: str
    cluster: str | None = None
    route: str | None = None
    endpoint: str | None = None
    attempts: int = 0
    flags: tuple[str, ...] = ()
    detail: str = ""
    config_version: str = ""
    rule: str | None = None
    node: str = ""
    trace: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        facts = [self.detail or "call failed", f"host={self.host}"]
        named = {
            "cluster": self.cluster,
            "endpoint": self.endpoint,
            "rule": self.rule,
            "config": self.config_version,
            "node": self.node,
        }
        facts += [f"{name}={value}" for name, value in named.items() if value]
        facts.append(f"attempts={self.attempts}")
        if self.flags:
            facts.append(f"flags={','.join(self.flags)}")
        return " ".join(facts)


class CallError(MeshError):
    """A call that the mesh itself failed (no route, no endpoint, overflow, time-out …)."""

    def __init__(self, report: CallReport) -> None:
        super().__init__(str(report))
        self.mesh = report
