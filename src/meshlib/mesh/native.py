"""xDS for gRPC core itself, where that alone can verify a server; imported when it is needed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..model import Address

if TYPE_CHECKING:
    from ..xds.native import Conversation


class NativeResources:
    """The ``native`` of a runtime."""

    provider = "own"

    def name(self, address: Address, ids: Sequence[str], *, is_ip: bool, shows: bool) -> str:
        from ..xds.native import resource_name

        return resource_name(address, ids, is_ip=is_ip, shows=shows)

    def converse(self) -> "Conversation":
        from ..xds.native import Conversation

        return Conversation(self.provider)
