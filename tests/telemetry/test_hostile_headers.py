"""Headers of those who mean harm."""

from meshlib.telemetry.propagation import sounded
from meshlib.telemetry.trace_headers import sound_baggage


def test_blanks_in_baggage_cost_no_more_than_they_are() -> None:
    # Were the blanks shared out in all possible ways, this would take longer than the world is old.
    hostile = "k=v" + ";p=  " * 1000 + '"'

    assert sound_baggage(hostile) == ""


def test_properties_of_baggage_are_kept_with_the_blanks_around_them() -> None:
    said = "k = v ; p ; q =  1 ;r=, bad;=1,other=2;,x=1"

    assert sound_baggage(said) == "k = v ; p ; q =  1 ;r=,x=1"


def test_a_member_of_tracestate_costs_no_more_than_it_is() -> None:
    came = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")
    hostile = "a" * 256 + "=" + " " * 7900 + "\t"

    assert sounded([came, ("tracestate", hostile)]) == (came,)
