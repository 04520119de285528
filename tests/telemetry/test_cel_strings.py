"""Expressions have the functions of texts that Envoy's have."""

import pytest

from meshlib.telemetry.cel_strings import FUNCTIONS
from meshlib.telemetry.expressions import compile_expression
from meshlib.xds import expressions

KNOWN = {"request": {"path": "/books/42", "headers": {"n": "x" * 16_000}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'aBÉ'.lowerAscii()", "abÉ"),
        ("'aBé'.upperAscii()", "ABé"),
        ("' a '.trim()", "a"),
        ("request.path.split('/')[2]", "42"),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("'abc'.split('', 2)", ["a", "bc"]),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'a,b'.split(',', 0)", []),
        ("['a', 'b'].join('-')", "a-b"),
        ("['a', 'b'].join()", "ab"),
        ("'abab'.replace('a', 'x')", "xbxb"),
        ("'abab'.replace('a', 'x', 1)", "xbab"),
        ("'abc'.substring(1)", "bc"),
        ("'abc'.substring(1, 2)", "b"),
        ("'abc'.charAt(3)", ""),
        ("'abcb'.indexOf('b')", 1),
        ("'abcb'.indexOf('b', 2)", 3),
        ("'abcb'.lastIndexOf('b')", 3),
        ("'abcb'.lastIndexOf('b', 2)", 1),
    ],
)
def test_a_text_is_taken_apart_as_envoy_does_it(text, value):
    assert compile_expression(text).value(KNOWN) == value


@pytest.mark.parametrize(
    "text",
    [
        "'abc'.substring(5)",
        "'abc'.substring(2, 1)",
        "'abc'.substring(-1)",
        "'abc'.charAt(4)",
        "'abc'.charAt(-1)",
        "'abc'.indexOf('a', 9)",
        "request.headers['n'].replace('x', '0123456789')",
        "request.headers['n'].split('').join('0123456789')",
        "request.path.trim(1)",
    ],
)
def test_what_is_out_of_range_or_without_end_has_no_value(text):
    assert compile_expression(text).value(KNOWN) is None


def test_each_function_is_taken_where_configuration_is_judged():
    assert FUNCTIONS.keys() <= expressions.FUNCTIONS
