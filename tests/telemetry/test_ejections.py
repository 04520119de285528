"""Whom outlier detection leaves out is told in the log of the program."""

import logging
from collections import deque

import pytest

from meshlib.dataplane import EndpointEjected, UpstreamEndpoint
from meshlib.dataplane.events import EndpointReturned
from meshlib.model import Address, Endpoint
from meshlib.telemetry.observer import Telemetry

NOON = 1_800_000_000
BAD = UpstreamEndpoint(
    Endpoint(address=Address("10.0.0.1", 9080)), http2=False, connect_timeout=1.0
)


@pytest.fixture
def told(caplog):
    """What is in the log once what events leave to be done is done, each with its level."""
    caplog.set_level(logging.INFO, logger="meshlib")
    left = deque()
    observe = Telemetry(lambda _: None, left, now=lambda: NOON * 1_000_000_000, clock=lambda: 100.0)

    def tell(event):
        observe(event)
        assert not caplog.records  # the lock is held
        while left:
            left.popleft()()
        return [(one.levelname, one.getMessage()) for one in caplog.records]

    return tell


def test_an_ejection_is_told_with_whom_why_and_until_when(told):
    event = EndpointEjected("reviews", BAD, "consecutive_5xx", until=130.0)
    said = "cluster reviews: outlier detection (consecutive_5xx) ejects 10.0.0.1:9080 for 30 s"
    assert told(event) == [("INFO", f"{said}, until 2027-01-15T08:00:30+00:00")]


def test_an_ejection_for_ever_is_told_too(told):
    ((_, said),) = told(EndpointEjected("reviews", BAD, "success_rate", until=3e11))
    assert said.endswith("until 9999-12-31T23:59:59+00:00")


def test_a_return_is_told(told):
    said = "cluster reviews: 10.0.0.1:9080 may be called again"
    assert told(EndpointReturned("reviews", BAD)) == [("INFO", said)]
