"""Strings with ``%…%`` of Envoy's fuzz corpora: each is a format, or refused by our own error."""

import ast
import json

from meshlib.model.format import FormatError, Operator, parse_format

ROWS = 93


def texts(testdata, source=""):
    rows = json.loads((testdata / "envoy_format_strings_corpus.json").read_text())
    assert len(rows) == ROWS
    return [unescaped(row["escaped"]) for row in rows if row["src"].startswith(source)]


def unescaped(escaped):
    """As C writes it, and Python: what is no escape stands for itself."""
    quoted = escaped.replace('"""', r"\"\"\"")
    try:
        return ast.literal_eval(f'"""{quoted} """')[:-1]
    except (SyntaxError, ValueError):
        return escaped


def verdict(text):
    try:
        parts = parse_format(text)
    except FormatError as refused:
        return str(refused)
    assert all(isinstance(part, str | Operator) for part in parts)
    return parts


def test_every_string_is_a_format_or_is_refused_with_a_reason(testdata):
    verdicts = [verdict(text) for text in texts(testdata)]
    assert all(verdicts)
    assert any(isinstance(one, str) for one in verdicts)
    assert any(isinstance(one, tuple) for one in verdicts)


def test_what_envoy_calls_an_invalid_header_is_refused(testdata):
    invalid = texts(testdata, "header_parser_corpus/invalid_")
    assert len(invalid) == 12
    assert [text for text in invalid if not isinstance(verdict(text), str)] == []
