"""A call on its way out: find its listener, enter the listener's router."""

from dataclasses import dataclass

from ..model import Listener
from .filters.router import Router


@dataclass(frozen=True, slots=True)
class LiveListener:
    """A listener with its routes and their filters compiled."""

    config: Listener
    service: Router

    @property
    def router(self) -> Router:
        return self.service
