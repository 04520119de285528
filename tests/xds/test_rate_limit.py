import pytest

from meshlib.xds.protos import message_class
from meshlib.xds.rate_limit import REQUEST, RESPONSE, decode_response, encode_request


def verdict(**fields):
    """The fields of a verdict that an answer leads to."""
    message = message_class(RESPONSE)(**fields)
    return decode_response(message.SerializeToString(), dict)


def status(number, unit, remaining, reset=0, name=""):
    made = message_class(f"{RESPONSE}.DescriptorStatus")(limit_remaining=remaining)
    made.current_limit.requests_per_unit = number
    made.current_limit.unit = unit
    made.current_limit.name = name
    made.duration_until_reset.seconds = reset
    return made


def test_a_question_names_domain_and_descriptors() -> None:
    message = message_class(REQUEST).FromString(encode_request("shop", [[("a", "1"), ("b", "")]]))
    assert message.domain == "shop"
    (descriptor,) = message.descriptors
    assert [(entry.key, entry.value) for entry in descriptor.entries] == [("a", "1"), ("b", "")]


@pytest.mark.parametrize(("code", "ok"), [(1, True), (2, False)])
def test_an_answer_is_yes_or_no(code, ok) -> None:
    assert verdict(overall_code=code)["ok"] is ok


def test_what_is_neither_is_no_verdict() -> None:
    assert verdict()["ok"] is None
    garbage = decode_response(b"\xff\xff\xff", dict)
    assert garbage["ok"] is None
    assert "garbage" in garbage["detail"]


def test_the_nearest_limit_is_told_with_all_of_them_as_envoy_does() -> None:
    limits = [status(1, 2, 2, 3, "first"), status(4, 3, 5, 6, "second")]
    told = verdict(overall_code=1, statuses=limits)
    assert told["limit"] == '1, 1;w=60;name="first", 4;w=3600;name="second"'
    assert (told["remaining"], told["reset"]) == (2, 3.0)


def test_a_limit_without_a_known_unit_is_told_without_a_window() -> None:
    assert verdict(overall_code=1, statuses=[status(7, 0, 2)])["limit"] == "7"


def test_bytes_that_are_no_text_are_asked_about_as_well() -> None:
    hostile = b"a\xff".decode("utf-8", "surrogateescape")
    message = message_class(REQUEST).FromString(encode_request("shop", [[("a", hostile)]]))
    assert message.descriptors[0].entries[0].value == "a\ufffd"
