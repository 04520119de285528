"""What is said between a client and the control plane, free of its encoding on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import MeshError
from .versions import PackedResource

WILDCARD = "*"


class RequestError(MeshError):
    """A client asks for something that makes no sense."""


class ExcessError(MeshError):
    """A client asks for more than one may; ``reason`` names the limit."""

    def __init__(self, text: str, reason: str = "names") -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """State of the world: ``names`` are all that is wanted.

    ``error`` makes it a NACK, whatever version it carries.
    """

    type_url: str
    names: tuple[str, ...] = ()
    version: str = ""
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRequest:
    """Incremental: what is wanted beside, and no longer.

    ``initial_versions``: what the client has from a stream before.
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """``missing``: names asked for that do not exist (xRFC TP3); ``removed``: no longer (delta);
    ``beats``: those that live on as they are."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[PackedResource, ...]
    missing: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    beats: tuple[PackedResource, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """``refused``: those that the text names, or all of the response if it names none.

    ``is_precise``: it is known which are meant.
    """

    type_url: str
    version: str
    text: str
    refused: tuple[PackedResource, ...]
    is_precise: bool = False

    @property
    def resources(self) -> tuple[str, ...]:
        return tuple(resource.name for resource in self.refused)
