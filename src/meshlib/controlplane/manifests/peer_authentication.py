"""``security.istio.io`` PeerAuthentication: whether a workload wants mutual TLS."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from .piece import Flaw, Piece
from .selection import Selecting

Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class MutualTLS(Piece, frozen=True):
    mode: Mode = "UNSET"


class PeerAuthentication(Selecting, frozen=True):
    """``port_level_mtls`` by the number of the workload's own port."""

    mtls: MutualTLS | None = None
    port_level_mtls: dict[str, MutualTLS] | msgspec.UnsetType = msgspec.UNSET

    @property
    def mode(self) -> Mode:
        return "UNSET" if self.mtls is None else self.mtls.mode

    @property
    def port_modes(self) -> dict[int, Mode]:
        ports = self.port_level_mtls
        if isinstance(ports, msgspec.UnsetType):
            return {}
        return {int(number): said.mode for number, said in ports.items()}

    def rules(self) -> Iterator[Flaw]:
        ports = self.port_level_mtls
        if isinstance(ports, msgspec.UnsetType):
            return
        if not self.labels:
            yield Flaw(("portLevelMtls",), "portLevelMtls needs a selector with labels")
        if not ports:
            yield Flaw(("portLevelMtls",), "at least one port is needed")
        for number in ports:
            if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= 65535):
                said = f"{number!r} is not a port from 1 to 65535"
                yield Flaw(("portLevelMtls", number), said, at_key=True)
