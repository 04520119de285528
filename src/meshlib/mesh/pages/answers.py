"""What is asked of the admin port, and the forms of an answer."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

Answer = tuple[int, str, str | Iterable[str]]
"""Status, content type and body; a large one in pieces."""

PLAIN = "text/plain; charset=utf-8"
JSON = "application/json"
FORMATS = {"text": PLAIN, "json": JSON}
MOST = 64
"""Parameters of one question."""


class RefusedError(Exception):
    """A question that has no answer; says what would have one."""

    def __init__(self, said: str, status: int = 400) -> None:
        super().__init__(said)
        self.answer: Answer = status, PLAIN, f"{said}\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """One page with the parameters of the question, each as often as it was given."""

    path: str
    parameters: Mapping[str, list[str]]

    @classmethod
    def of(cls, target: str) -> "Asked":
        """Raises :class:`RefusedError`."""
        path, _, query = target.partition("?")
        try:
            found = parse_qs(query, keep_blank_values=True, max_num_fields=MOST)
        except ValueError:
            raise RefusedError(f"more than {MOST} parameters") from None
        return cls(path, found)

    def last(self, name: str, usual: str) -> str:
        return self.parameters.get(name, [usual])[-1]

    def check(self, known: Iterable[str]) -> None:
        """Raises :class:`RefusedError` for a parameter that would have no effect."""
        names = sorted(known)
        for name in self.parameters:
            if name not in names:
                said = f"{self.path} has no parameter {name[:100]!r}, but {', '.join(names)}"
                raise RefusedError(said)

    def format(self, usual: str) -> str:
        wanted = self.last("format", usual)
        if wanted not in FORMATS:
            raise RefusedError(f"format {wanted[:100]!r} is neither text nor json")
        return wanted


def in_lines(lines: Iterable[str]) -> Iterator[str]:
    """Each is one, whatever stands in the names that others gave."""
    for line in lines:
        yield (line if line.isprintable() else "".join(map(_printable, line))) + "\n"


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def in_json(value: Mapping[str, Any]) -> Iterator[str]:
    yield json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def framed(head: Mapping[str, Any], **lists: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A JSON object with ``head`` and lists, which are made one by one while they are read."""
    yield "{" + json.dumps(head, ensure_ascii=False)[1:-1]
    before = ", " if head else ""
    for name, values in lists.items():
        yield f"{before}{json.dumps(name)}: ["
        between = "\n"
        for value in values:
            yield between + json.dumps(value, ensure_ascii=False)
            between = ",\n"
        yield "]"
        before = ", "
    yield "}\n"
