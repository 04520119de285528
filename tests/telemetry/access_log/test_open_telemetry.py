import pytest
from opentelemetry import _logs
from opentelemetry._logs import _internal
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.util._once import Once

from meshlib import ConfigError
from meshlib.model import Struct
from meshlib.model.telemetry import AccessLog, OpenTelemetryAccessLog
from meshlib.telemetry.access_log import compile_log


@pytest.fixture
def records(monkeypatch):
    """What a program that has set up OpenTelemetry's logs hears."""
    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER_SET_ONCE", Once())
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
