"""What the levels of configuration (weight, route, host, table) do to headers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...model import HeaderMutations, HeaderValueOption
from ..message import Headers
from .formatting import Facts, Format, Whereabouts, compile_format

PROTECTED = ("host", "te")
PROTECTED_PREFIXES = (":", "grpc-")
"""Never touched by header mutations: the call would not be the same call any more."""

FactsOf = Callable[[Headers], Facts]
"""What values are filled in from, once the headers are as they are."""


@dataclass(frozen=True, slots=True)
class Change:
    name: str
    value: str | Format
    append_action: str
    keep_empty_value: bool


@dataclass(frozen=True, slots=True)
class Level:
    """What one level removes, and then adds; every value is filled in before any is added."""

    remove: frozenset[str]
    add: tuple[Change, ...]
    is_filled: bool

    def __call__(self, headers: Headers, facts_of: FactsOf) -> Headers:
        remove = self.remove
        kept = [pair for pair in headers if pair[0] not in remove] if remove else list(headers)
        if not self.add:
            return tuple(kept)
        present = {name for name, _ in kept}
        facts = facts_of(tuple(kept)) if self.is_filled else None
        replaced: dict[str, str] = {}
        added = []
        for change in self.add:
            value = change.value
            if not isinstance(value, str):
                value = value(facts) if facts is not None else ""
            if not (value or change.keep_empty_value):
                continue
            match change.append_action:
                case "append_if_exists_or_add":
                    added.append((change.name, value))
                case "add_if_absent":
                    if change.name not in present:
                        added.append((change.name, value))
                case "overwrite_if_exists" if change.name not in present:
                    pass
                case _:
                    replaced[change.name] = value
        if replaced:
            kept = [pair for pair in kept if pair[0] not in replaced]
        return (*kept, *replaced.items(), *added)


def request_levels(
    mutations: Iterable[HeaderMutations], whereabouts: Whereabouts
) -> tuple[Level, ...]:
    """Those that change anything, in the order in which they act."""
    return tuple(
        _level(each.request_headers_to_remove, each.request_headers_to_add, whereabouts)
        for each in mutations
        if each.request_headers_to_remove or each.request_headers_to_add
    )


def response_levels(
    mutations: Iterable[HeaderMutations], whereabouts: Whereabouts
) -> tuple[Level, ...]:
    return tuple(
        _level(each.response_headers_to_remove, each.response_headers_to_add, whereabouts)
        for each in mutations
        if each.response_headers_to_remove or each.response_headers_to_add
    )


def _level(
    remove: Iterable[str], add: Iterable[HeaderValueOption], whereabouts: Whereabouts
) -> Level:
    changes = tuple(
        Change(
            option.name.lower(),
            compile_format(option.value, whereabouts),
            option.append_action,
            option.keep_empty_value,
        )
        for option in add
        if not _is_protected(option.name.lower())
    )
    removed = frozenset(name for name in map(str.lower, remove) if not _is_protected(name))
    return Level(removed, changes, any(isinstance(change.value, Format) for change in changes))


def _is_protected(name: str) -> bool:
    return name in PROTECTED or name.startswith(PROTECTED_PREFIXES)
