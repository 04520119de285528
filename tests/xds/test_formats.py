from hypothesis import given
from hypothesis import strategies as st

from meshlib.xds.formats import literal, quoted


@given(st.text("%ab"))
def test_a_value_is_written_so_that_it_stands_for_itself(value: str) -> None:
    assert literal(quoted(value)) == value


@given(st.text("%ab"))
def test_an_odd_percent_sign_asks_for_something_to_be_filled_in(text: str) -> None:
    assert (literal(text) is None) is ("%" in text.replace("%%", ""))
