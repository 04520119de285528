"""A guarded callable is told of like any other call."""

import asyncio
import re
from collections import Counter

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from meshlib import Mesh
from meshlib.telemetry.tracing import Tracer

HOST = "payments.example.com"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def member(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    made = Mesh("shop", config=manifests(), metrics=True)
    made._seen.propagation._tracing = Tracer(provider)
    with made:
        yield made


def manifests():
    route = {
        "route": [{"destination": {"host": HOST}}],
        "retries": {"attempts": 2, "retryOn": "5xx", "backoff": "1ms"},
    }
    return [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "payments"},
            "spec": {
                "hosts": [HOST],
                "ports": [{"number": 8443, "name": "http", "protocol": "HTTP"}],
                "resolution": "STATIC",
                "endpoints": [{"address": "127.0.0.1"}],
            },
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "payments"},
            "spec": {"hosts": [HOST], "http": [route]},
        },
    ]


class DownError(Exception):
    status = 503


@pytest.fixture(params=["def", "async def"])
def pay(request, member):
    """Calls a guarded callable that fails so many times."""

    async def make(failures: int) -> int:
        ran = Counter()

        def work():
            ran["times"] += 1
            if ran["times"] <= failures:
                raise DownError

        async def awork():
            work()

        if request.param == "def":
            await asyncio.to_thread(member.guard(HOST, path="/pay")(work))
        else:
            await member.guard(HOST, path="/pay")(awork)()
        return ran["times"]

    return make


def counted(member, name):
    """The samples of a metric, as whoever scrapes reads them."""
    found = re.findall(rf"^{name}{{(.*)}} (\S+)$", member._seen.text(), re.MULTILINE)
    return [(dict(re.findall(r'(\w+)="(.*?)"', labels)), float(value)) for labels, value in found]


async def test_each_attempt_of_a_guarded_call_is_a_span(pay, exporter):
    assert await pay(1) == 2
    first, second = exporter.get_finished_spans()
    for span in (first, second):
        assert span.name == "POST"
        assert span.kind is trace.SpanKind.CLIENT
        assert span.attributes["url.full"] == f"http://{HOST}:8443/pay"
    assert first.attributes["http.response.status_code"] == 503
    assert second.attributes["http.response.status_code"] == 200
    assert second.attributes["http.request.resend_count"] == 1


async def test_a_guarded_call_is_counted_once(pay, member):
    assert await pay(1) == 2
    ((labels, calls),) = counted(member, "istio_requests_total")
    assert calls == 1
    assert (labels["destination_service"], labels["response_code"]) == (HOST, "200")
    ((_, calls),) = counted(member, "istio_request_duration_milliseconds_count")
    assert calls == 1


async def test_what_a_guarded_callable_moves_is_not_known(pay, member):
    """It has neither headers nor bodies that the mesh could see."""
    await pay(0)
    for name in ("istio_request_bytes_sum", "istio_response_bytes_sum"):
        assert [value for _, value in counted(member, name)] == [0]


async def test_a_guarded_call_is_of_the_span_around_it(pay, exporter):
    own = TracerProvider().get_tracer("application")
    with own.start_as_current_span("work") as work:
        await pay(0)
    (call,) = exporter.get_finished_spans()
    assert call.parent.span_id == work.get_span_context().span_id
    assert call.context.trace_id == work.get_span_context().trace_id
