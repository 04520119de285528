"""What is reported of a change that was made for the sake of one kind of client."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Downgrade:
    resource: str
    what: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.what}"


Report = Callable[[Downgrade], None]


def report_ignored(
    where: str, facts: Iterable[tuple[str, object]], kind: str, report: Report
) -> None:
    """One report of all that is set at a place and has no effect there."""
    named = [name for name, is_set in facts if is_set]
    if named:
        report(Downgrade(where, f"without effect for {kind} clients: {', '.join(named)}"))
