"""What a scripted control plane says, without the codec."""

from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, Problem
from ..model import ClusterLoadAssignment
from ..xds.responses import RawResource


@dataclass(frozen=True, slots=True)
class Bad:
    """A resource that the client refuses; without ``name`` not even that can be read."""

    name: str
    what: str = "must not be"


@dataclass(frozen=True, slots=True)
class Named:
    """A decoded resource, as the codec gives it."""

    name: str
    resource: Any
    ignored: tuple[str, ...] = ()


class RefusedError(ConfigError):
    def __init__(self, bad: Bad) -> None:
        super().__init__(Problem(bad.name, bad.what))
        self.name = bad.name


class Tokens:
    """A stand-in for the codec: what is sent is a token, and the value stays here."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def pack(self, type_url: str, value: Any, *, name: str = "", version: str = "") -> RawResource:
        self._values.append(value)
        token = str(len(self._values) - 1).encode()
        return RawResource(type_url, token, name=name, version=version)

    def decode(self, type_url: str, token: bytes) -> Named:
        match self._values[int(token)]:
            case Bad() as bad:
                raise RefusedError(bad)
            case Named() as named:
                return named
            case ClusterLoadAssignment() as assignment:
                return Named(assignment.cluster_name, assignment)
            case resource:
                return Named(resource.name, resource)
