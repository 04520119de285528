import logging

import pytest
from opentelemetry import _logs
from opentelemetry._logs import _internal
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.util._once import Once

from meshlib import ConfigError
from meshlib.model import HttpConnectionManager, Listener, Rds, Struct
from meshlib.model.telemetry import AccessLog, FileAccessLog, OpenTelemetryAccessLog
from meshlib.telemetry.access_log import compile_log
from meshlib.telemetry.access_log.open_telemetry import unheard


@pytest.fixture
def nobody(monkeypatch):
    """The program has set up no logs of OpenTelemetry's, so far."""
    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def records(nobody):
    """What a program that has set up OpenTelemetry's logs hears."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    _logs.set_logger_provider(provider)
    yield exporter.get_finished_logs
    provider.shutdown()


def test_a_call_is_a_log_record_of_the_program(records, site, call):
    attributes = Struct((("code", "%RESPONSE_CODE%"), ("none", "%REQ(X-NONE)%")))
    config = OpenTelemetryAccessLog(
        cluster="otel", log_name="mine", body="%REQ(:PATH)%", attributes=attributes
    )
    compile_log(AccessLog(name="otel", config=config), site)(call())
    (told,) = records()
    assert told.log_record.body == "/books?page=2"
    assert dict(told.log_record.attributes) == {"code": 200}
    assert told.log_record.timestamp == 1_700_000_000_000_000_000
    assert told.instrumentation_scope.name == "mine"


def test_a_body_may_be_left_out(records, site, call):
    config = OpenTelemetryAccessLog(cluster="otel")
    compile_log(AccessLog(name="otel", config=config), site)(call())
    (told,) = records()
    assert told.log_record.body is None


def test_a_bad_attribute_is_refused_by_its_path(site):
    config = OpenTelemetryAccessLog(cluster="otel", attributes=Struct((("a", "%NONE%"),)))
    with pytest.raises(ConfigError, match=r"attributes\.a: .*%NONE%"):
        compile_log(AccessLog(name="otel", config=config), site)


def test_records_that_nobody_takes_are_told_once(nobody, site, call, caplog):
    log = AccessLog(name="otel", config=OpenTelemetryAccessLog(cluster="otel", log_name="lost"))
    with caplog.at_level(logging.WARNING, logger="meshlib"):
        for _ in range(3):
            compile_log(log, site)(call())
    (said,) = [one.getMessage() for one in caplog.records]
    assert said.startswith("access log lost: nobody takes its records: call meshlib.telemetry.")


def listener(*logs):
    return Listener(name="l", http=HttpConnectionManager(routes=Rds("r"), access_log=logs))


def test_logs_whose_records_nobody_takes_are_named_until_somebody_does(nobody):
    lost = AccessLog(name="otel", config=OpenTelemetryAccessLog(cluster="otel", log_name="calls"))
    lines = AccessLog(name="file", config=FileAccessLog(path="/x"))
    (said,) = unheard([listener(lines, lost), listener(lost)])
    assert said.startswith("access log calls: nobody takes its records")
    assert unheard([listener(lines)]) == ()
    _logs.set_logger_provider(LoggerProvider(shutdown_on_exit=False))
    assert unheard([listener(lost)]) == ()
