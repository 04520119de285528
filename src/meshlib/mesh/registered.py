"""The registrations of a mesh: they end before it does."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # its threads and its wire are for those who register
    from .registration import Registration


class Registered(list["Registration"]):
    def close(self) -> None:
        """Deregister all; each only once."""
        while self:
            self.pop().deregister()
