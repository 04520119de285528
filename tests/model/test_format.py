import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.model.format import FormatError, Operator, literal, parse_format, quoted


@given(st.text("%ab"))
def test_a_value_is_written_so_that_it_stands_for_itself(value: str) -> None:
    assert literal(quoted(value)) == value
    assert parse_format(quoted(value)) == ((value,) if value else ())


@given(st.text("%ab"))
def test_an_odd_percent_sign_asks_for_something_to_be_filled_in(text: str) -> None:
    assert (literal(text) is None) is ("%" in text.replace("%%", ""))


def test_what_is_to_be_filled_in_stands_between_plain_text() -> None:
    assert parse_format("100%% %REQ(x-user?:authority):8%, %PROTOCOL%") == (
        "100% ",
        Operator("REQ", "x-user?:authority", 8),
        ", ",
        Operator("PROTOCOL"),
    )


def test_a_time_is_written_with_percent_signs_of_its_own() -> None:
    assert parse_format("t=%START_TIME(%s.%3f)%") == ("t=", Operator("START_TIME", "%s.%3f"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%CEL(request.id)%", "%CEL% is not supported"),
        ("%UPSTREAM_METADATA(ns:key)%", "%UPSTREAM_METADATA% is not supported"),
        ("%protocol%", "'%protocol%'"),
        ("50%", "'%'"),
        ("%REQ%", "%REQ% needs an argument"),
        ("%REQ(a?b?c)%", "'a?b?c'"),
        ("%REQ(a b)%", "'a b'"),
        ("%PROTOCOL(x)%", "%PROTOCOL% takes no argument"),
        ("%PROTOCOL:5%", "%PROTOCOL% cannot be cut"),
        ("%METADATA(LISTENER:a:b)%", "'LISTENER:a:b'"),
        ("%START_TIME(%Q)%", "'%Q'"),
        ("a\r\nhost: b", "'\\r'"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(FormatError) as refused:
        parse_format(text)
    assert said in str(refused.value)
