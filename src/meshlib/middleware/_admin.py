"""What a server can tell of itself, as the floors above make it."""

from typing import Protocol


class AdminMessages(Protocol):
    """Messages are read and written at the border, not in here."""

    def client_status(self, request: bytes) -> bytes:
        """The answer of CSDS; :class:`ValueError` where there is none."""

    def read_service(self, request: bytes) -> str | None: ...

    def write_status(self, status: str) -> bytes: ...
