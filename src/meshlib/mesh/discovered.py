"""Secrets that the control plane sends, as a member has use for them (SDS over ADS)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..identity.material import OWN_CERTIFICATE, OWN_ROOTS
from ..model.security import Secret

if TYPE_CHECKING:
    from ..identity.secret_source import SecretSource

OWN = (OWN_CERTIFICATE, OWN_ROOTS)


@dataclass(frozen=True, slots=True)
class Discovered:
    """``is_identity``: the member is who these say. Else it has that from somewhere else, and
    those names are not asked for."""

    source: "SecretSource"
    is_identity: bool

    @property
    def always(self) -> tuple[str, ...]:
        return OWN if self.is_identity else ()

    def wants(self, name: str) -> bool:
        return self.is_identity or name not in OWN

    def check(self, secret: Secret) -> None:
        self.source.check(secret)

    def hear(self, secret: Secret) -> None:
        self.source.hear(secret)

    def lose(self, name: str) -> None:
        self.source.lose(name)
