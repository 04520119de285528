"""Who asks: what one member of the mesh sees depends on where it stands."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    namespace: str = "default"
    labels: tuple[tuple[str, str], ...] = ()

    def carries(self, labels: dict[str, str]) -> bool:
        """Whether the member has all of these labels."""
        return labels.items() <= dict(self.labels).items()
