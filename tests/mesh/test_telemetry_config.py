"""A Telemetry is obeyed by a member that reads it itself."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry import _logs
from opentelemetry._logs import _internal
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.util._once import Once

import meshlib
from meshlib.errors import ConfigError

LABELS = {"path": "%REQ(:PATH)%", "code": "%RESPONSE_CODE%", "who": "%CEL(request.method)%"}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def manifests(port: int, path: Path, expression: str) -> list[dict[str, Any]]:
    provider = {"path": str(path), "logFormat": {"labels": LABELS}}
    rule = {"providers": [{"name": "mine"}], "filter": {"expression": expression}}
    ports = [{"name": "http", "port": 9080}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "reviews"},
            "spec": {"selector": {"app": "reviews"}, "ports": ports},
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": "reviews"},
            "spec": {
                "address": "127.0.0.1",
                "ports": {"http": port},
                "labels": {"app": "reviews"},
            },
        },
        {
            "apiVersion": "mesh.istio.io/v1",
            "kind": "MeshConfig",
            "spec": {"extensionProviders": [{"name": "mine", "envoyFileAccessLog": provider}]},
        },
        {
            "apiVersion": "telemetry.istio.io/v1",
            "kind": "Telemetry",
            "metadata": {"name": "lines"},
            "spec": {"accessLogging": [rule]},
        },
    ]


async def test_calls_that_its_expression_is_true_of_have_lines(port: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    said = manifests(port, path, "request.url_path.startsWith('/shown')")
    async with meshlib.Mesh("productpage", config=said) as mesh:
        async with mesh.aiohttp.session() as session:
            for asked in ("/shown?a=1", "/hidden", "/shown/2"):
                async with session.get(f"http://reviews:9080{asked}") as response:
                    assert response.status == 200
        assert mesh.ignored() == ()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"path": "/shown?a=1", "code": 200, "who": "GET"},
        {"path": "/shown/2", "code": 200, "who": "GET"},
    ]


def test_an_expression_that_is_none_is_refused_with_its_place(tmp_path: Path) -> None:
    said = manifests(1, tmp_path / "log", "responce.code == 1")
    with pytest.raises(ConfigError) as refused, meshlib.Mesh("productpage", config=said):
        pass
    assert "[3]: spec.accessLogging[0].filter.expression" in str(refused.value)
    assert "speaks of 'responce', of which nothing is known" in str(refused.value)


OTEL: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "otel"},
        "spec": {"selector": {"app": "otel"}, "ports": [{"name": "grpc", "port": 4317}]},
    },
    {
        "apiVersion": "mesh.istio.io/v1",
        "kind": "MeshConfig",
        "spec": {
            "extensionProviders": [
                {
                    "name": "otel",
                    "envoyOtelAls": {"service": "otel.default.svc.cluster.local", "port": 4317},
                }
            ],
            "defaultProviders": {"accessLogging": ["otel"]},
        },
    },
]


async def test_records_of_calls_go_where_the_program_sends_them_or_are_told_to_be_lost(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(_internal, "_LOGGER_PROVIDER_SET_ONCE", Once())
    kept = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    said = [*manifests(port, tmp_path / "log", "true")[:2], *OTEL]
    async with meshlib.Mesh("productpage", config=said) as mesh, mesh.aiohttp.session() as session:
        elsewhere, lost = mesh.ignored()
        assert "where Envoys send records" in elsewhere
        assert lost.startswith("access log otel_envoy_accesslog: nobody takes its records")
        _logs.set_logger_provider(provider)
        assert mesh.ignored() == (elsewhere,)
        async with session.get("http://reviews:9080/a"):
            pass
    (told,) = kept.get_finished_logs()
    assert '"GET /a HTTP/1.1" 200' in str(told.log_record.body)
    provider.shutdown()
