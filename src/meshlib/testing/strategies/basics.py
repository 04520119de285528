"""Hypothesis strategies for what every resource is made of."""

from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import RETRY_CONDITIONS, Metadata, Struct, Value

T = TypeVar("T")

UINT32 = st.integers(0, 2**32 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
PERCENT = st.integers(0, 100)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
REGEX = st.sampled_from(["", "a.*", "/v[0-9]+/x", "(?i)reviews", "é|b", r"\d{1,3}"]).map(
    "x".__add__
)
# Made of parts: drawing from regular expressions takes ten times as long.
WORD = st.text("abcxyz", min_size=1, max_size=4)
HEADER_NAME = st.builds("{}-{}".format, st.sampled_from(["a", "x", "zx"]), WORD | st.just("9"))
PORT_PART = st.sampled_from(["", ":0", ":80", ":65535"])
DOMAIN = st.builds("{}{}{}".format, WORD, st.sampled_from(["", ".a", ".xyz"]), PORT_PART)
PATTERN = DOMAIN | DOMAIN.map("*.".__add__) | DOMAIN.map("{}.*".format) | st.just("*")
DENOMINATOR = st.sampled_from([100, 10_000, 1_000_000])
PRIMES = st.sampled_from([2, 7, 65537, 5_000_011])
RETRY_WORD = st.sampled_from(sorted(RETRY_CONDITIONS))
APPEND_ACTION = st.sampled_from(
    [
        "append_if_exists_or_add",
        "add_if_absent",
        "overwrite_if_exists_or_add",
        "overwrite_if_exists",
    ]
)
PORT = st.integers(1, 65535)


def seconds(*, least: int = 0) -> SearchStrategy[float]:
    """Whole nanoseconds: finer times do not exist on the wire."""
    return st.integers(least, 10**15).map(lambda nanos: nanos / 1e9)


POSITIVE = seconds(least=1)
HEADER_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
"""No header carries a control character."""
FORMAT = st.lists(
    HEADER_TEXT.map(lambda text: text.replace("%", "%%"))
    | st.sampled_from(["%REQ(x-user)%", "%REQ(x?:authority):9%", "%PROTOCOL%", "%UPSTREAM_HOST%"]),
    max_size=3,
).map("".join)
TENTHS_OF_PERMILLE = st.integers(0, 1_000_000).map(lambda parts: parts * 100 / 1_000_000)


def some(element: SearchStrategy[T], *, least: int = 0) -> SearchStrategy[tuple[T, ...]]:
    return st.lists(element, min_size=least, max_size=2).map(tuple)


def optional(element: SearchStrategy[T]) -> SearchStrategy[T | None]:
    return st.none() | element


def values() -> SearchStrategy[Value]:
    plain: SearchStrategy[Value] = (
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
    )
    return st.recursive(plain, lambda inner: some(inner) | structs(inner), max_leaves=3)


def structs(value: SearchStrategy[Value] | None = None) -> SearchStrategy[Struct]:
    held = st.dictionaries(TEXT, values() if value is None else value, max_size=2)
    return held.map(lambda fields: Struct(tuple(sorted(fields.items(), key=lambda kv: kv[0]))))


def metadata() -> SearchStrategy[Metadata]:
    filters = st.dictionaries(NAME, structs(), max_size=2)
    full = filters.map(lambda held: Metadata(tuple(sorted(held.items(), key=lambda kv: kv[0]))))
    return st.just(Metadata()) | full
