from dataclasses import replace

import pytest

from meshlib import ConfigError
from meshlib.model import HttpConnectionManager, Listener, RouteConfiguration
from meshlib.model.listener import ACCESS_LOG, DISABLED
from meshlib.model.matcher import RuntimeFraction
from meshlib.model.metadata import noted
from meshlib.model.telemetry import AccessLog, FileAccessLog, RuntimeFilter
from meshlib.telemetry import access_log
from meshlib.telemetry.audience import Audience, audience_of, default_audience

ROUTES = RouteConfiguration(name="books")
QUIET = Listener(name="books", http=HttpConnectionManager(routes=ROUTES))


def with_log(path, text="%RESPONSE_CODE%\n"):
    file = FileAccessLog(path=str(path), text=text)
    log = AccessLog(name="mine", config=file)
    return replace(QUIET, http=replace(QUIET.http, access_log=(log,)))


def test_a_listener_without_logs_costs_nothing():
    assert audience_of(QUIET) is None
    assert default_audience({}) is None


def test_the_logs_of_a_listener_are_written(call, tmp_path):
    audience = audience_of(with_log(tmp_path / "log"))
    for log in audience.logs:
        log(call())
    access_log.flush()
    assert (tmp_path / "log").read_text() == "200\n"


def test_the_log_of_the_environment_is_that_of_listeners_without(call, tmp_path):
    path = tmp_path / "default"
    otherwise = default_audience(
        {"MESHLIB_ACCESS_LOG": str(path), "MESHLIB_ACCESS_LOG_FORMAT": "%RESPONSE_CODE%"}
    )
    for listener in (QUIET, with_log(tmp_path / "own")):
        for log in audience_of(listener, otherwise).logs:
            log(call())
    access_log.flush()
    assert path.read_text() == "200\n"
    assert (tmp_path / "own").read_text() == "200\n"


def test_a_listener_that_is_to_have_no_log_has_not_that_of_the_environment_either(tmp_path):
    otherwise = default_audience({"MESHLIB_ACCESS_LOG": str(tmp_path / "default")})
    silent = replace(QUIET, metadata=noted(QUIET.metadata, ACCESS_LOG, DISABLED))
    assert audience_of(silent, otherwise) == Audience()


def test_a_filter_goes_by_what_its_runtime_key_says_at_the_moment(call, tmp_path):
    share = RuntimeFilter(
        fraction=RuntimeFraction(numerator=100, runtime_key="logged"),
        use_independent_randomness=True,
    )
    listener = with_log(tmp_path / "log")
    log = replace(listener.http.access_log[0], filter=share)
    runtime = {}
    audience = audience_of(
        replace(listener, http=replace(listener.http, access_log=(log,))), runtime=runtime
    )
    for told in ({}, {"logged": 0.0}, {"logged": 1.0}):
        runtime.clear()
        runtime.update(told)
        audience.logs[0](call())
    access_log.flush()
    assert (tmp_path / "log").read_text() == "200\n200\n"


def test_a_bad_format_is_refused_before_anything_is_in_force(tmp_path):
    with pytest.raises(ConfigError, match="%NOBODY_KNOWS%"):
        audience_of(with_log(tmp_path / "log", "%NOBODY_KNOWS%"))
    asked = {"MESHLIB_ACCESS_LOG": "/dev/null", "MESHLIB_ACCESS_LOG_FORMAT": "%NOBODY_KNOWS%"}
    with pytest.raises(ConfigError, match="%NOBODY_KNOWS%"):
        default_audience(asked)
