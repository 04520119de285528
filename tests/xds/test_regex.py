import pytest

from meshlib.xds.regex import finditer, fullmatch, why_not_re2


@pytest.mark.parametrize(
    ("regex", "why"),
    [
        ("a+", ""),
        ("a" * 1024, ""),
        ("a" * 1025, "is longer than 1024 characters"),
        ("(a", "is not a valid RE2 expression: "),
        ("a(?=b)", "is not a valid RE2 expression: "),
        (r"(a)\1", "is not a valid RE2 expression: "),
    ],
)
def test_what_re2_cannot_take_is_refused_with_the_reason(regex: str, why: str) -> None:
    said = why_not_re2(regex)
    assert said.startswith(why)
    assert bool(said) is bool(why)


def test_the_whole_text_must_match() -> None:
    matches = fullmatch("a+")
    assert matches("aaa") is not None
    assert matches("aab") is None


def test_bytes_that_are_no_text_do_not_match_and_break_nothing() -> None:
    hostile = b"/a\xff".decode("utf-8", "surrogateescape")
    assert fullmatch("/a.*")(hostile) is None
    assert fullmatch("/a.")("/a\u00e9") is not None
    assert list(finditer("a")(hostile)) == []
    assert [(found.start(), found.end()) for found in finditer("b")("\u00e9b")] == [(1, 2)]
