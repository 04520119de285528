"""Path templates (``envoy.extensions.path.match.uri_template.v3``): ``/shops/*/items/**.json``."""

import re
from dataclasses import dataclass

MOST_VARIABLES = 5

PCHARS = r"A-Za-z0-9\-._~%!$&'()*+,;:@="
"""Within the brackets of a regex: ``pchar`` of RFC 3986, of which "*" stands for one or more."""

_SEGMENT = re.compile(f"[{PCHARS}]+")
_VARIABLE = re.compile(r"\{([A-Za-z][A-Za-z0-9_]{0,15})(?:=([^{}]+))?\}")


class TemplateError(ValueError):
    """A text that is no path template; the message goes on from its name."""


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """``segments`` as literals, ``None`` for "*"; what follows a "**", ``None`` without one.

    ``suffix`` ends the last segment, or what "**" stands for.
    """

    segments: tuple[str | None, ...]
    rest: str | None = None
    suffix: str = ""


def is_segment(text: str) -> bool:
    """May "*" stand for it?"""
    return _SEGMENT.fullmatch(text) is not None


def parse_template(template: str) -> PathTemplate:
    """Raises :class:`TemplateError`."""
    if not template.startswith("/"):
        raise TemplateError("must begin with '/'")
    pieces, suffix = _pieces(template[1:])
    globs = [place for place, piece in enumerate(pieces) if piece == "**"]
    if not globs:
        return PathTemplate(tuple(map(_segment, pieces)), suffix=suffix)
    after = pieces[globs[0] + 1 :]
    if "*" in after or "**" in after:
        raise TemplateError("'**' must be the last operator")
    rest = "".join(f"/{piece}" for piece in after)
    return PathTemplate(tuple(map(_segment, pieces[: globs[0]])), rest, suffix)


def _segment(piece: str) -> str | None:
    return None if piece == "*" else piece


def _pieces(text: str) -> tuple[list[str], str]:
    """The segments, those in variables too, and what follows the operator in the last one."""
    pieces: list[str] = []
    names: list[str] = []
    while text:
        variable = _VARIABLE.match(text)
        if variable is not None:
            names.append(variable[1])
            found = (variable[2] or "*").split("/")
            text = text[variable.end() :]
        else:
            operator = "**" if text.startswith("**") else text[0] if text[0] == "*" else ""
            found = [operator or text.partition("/")[0]]
            text = text[len(found[0]) :]
        pieces += map(_checked, found)
        if text == "/":
            pieces.append("")
        elif text and text[0] != "/":
            _check_names(names)
            return pieces, _literal(text)
        text = text[1:]
    _check_names(names)
    return pieces, ""


def _checked(piece: str) -> str:
    return piece if piece in ("*", "**") else _literal(piece)


def _literal(text: str) -> str:
    """Envoy takes an asterisk in the midst of it for itself, which few who write one mean."""
    if "*" in text or not is_segment(text):
        raise TemplateError(f"{text!r} is neither an operator nor plain text")
    return text


def _check_names(names: list[str]) -> None:
    if len(names) > MOST_VARIABLES:
        raise TemplateError(f"has more than {MOST_VARIABLES} variables")
    if len(set(names)) < len(names):
        raise TemplateError("has two variables of one name")
