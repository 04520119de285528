"""Who asks: what one member of the mesh sees depends on where it stands."""

from dataclasses import dataclass

from ..model import Locality


@dataclass(frozen=True, slots=True)
class Scope:
    namespace: str = "default"
    labels: tuple[tuple[str, str], ...] = ()
    locality: Locality = Locality()

    def carries(self, labels: dict[str, str]) -> bool:
        """Whether the member has all of these labels."""
        return labels.items() <= dict(self.labels).items()
