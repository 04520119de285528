"""A call is a generator of effects: what the core asks for, and the words to ask.

A driver sends back: for :class:`Send` and :class:`Serve` an outcome, for :class:`Sleep` nothing,
for :class:`AwaitConfig` whether anything new came in time, for :class:`Deliver` how the body
ended (the delivered outcome itself when it was complete). Nothing follows a ``Deliver``.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .message import Outcome, Request

if TYPE_CHECKING:
    from .events import CallRecord
    from .upstream.endpoint import UpstreamEndpoint


@dataclass(slots=True)
class Send:
    """One attempt. ``endpoint`` ``None``: to wherever the caller's own target leads.

    ``timeout`` is in seconds from now, ``None`` for no limit. ``request`` is the caller's very
    object unless the route changes something of it.
    """

    request: Request
    endpoint: "UpstreamEndpoint | None"
    timeout: float | None


@dataclass(slots=True)
class Serve:
    """Run the application's handler."""

    request: Request


@dataclass(slots=True)
class Sleep:
    seconds: float


@dataclass(slots=True)
class AwaitConfig:
    """Wait until anything newer than now is known of this listener, at most so many seconds."""

    listener: str
    timeout: float | None


@dataclass(slots=True)
class Deliver:
    """Hand the outcome to the application; resume when its body or stream has ended."""

    outcome: Outcome
    record: "CallRecord"


Effect = Send | Serve | Sleep | AwaitConfig | Deliver

T = TypeVar("T")
Steps = Generator[Effect, Any, T]
"""What every stage returns; the answers are typed by the functions below."""
