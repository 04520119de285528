"""Path templates, compiled to comparisons of segments."""

from collections.abc import Callable

from ...model.uri_template import PathTemplate, is_segment, parse_template

PathTest = Callable[[str], bool]


def template_test(template: str) -> PathTest:
    """A test of the path without its query. Raises :class:`TemplateError`."""
    parsed = parse_template(template)
    return _open_test(parsed) if parsed.rest is not None else _closed_test(parsed)


def _closed_test(template: PathTemplate) -> PathTest:
    """As many segments as the template has; "/" alone has none."""
    wanted, suffix = template.segments or ("",), template.suffix
    count = len(wanted)

    def check(path: str) -> bool:
        if not (path.startswith("/") and path.endswith(suffix)):
            return False
        segments = path[1 : len(path) - len(suffix)].split("/")
        return len(segments) == count and _all_fit(wanted, segments)

    return check


def _open_test(template: PathTemplate) -> PathTest:
    """The first segments as the template has them; whatever follows, to its end."""
    wanted, end = template.segments, (template.rest or "") + template.suffix
    count = len(wanted)

    def check(path: str) -> bool:
        if not path.startswith("/"):
            return False
        *segments, rest = path[1:].split("/", count)
        if len(segments) < count or not rest.endswith(end) or not _all_fit(wanted, segments):
            return False
        within = rest[: len(rest) - len(end)].replace("/", "")
        return not within or is_segment(within)

    return check


def _all_fit(wanted: tuple[str | None, ...], segments: list[str]) -> bool:
    """A literal is the same text, "*" any that is not empty."""
    for literal, segment in zip(wanted, segments, strict=True):
        if not (is_segment(segment) if literal is None else segment == literal):
            return False
    return True
