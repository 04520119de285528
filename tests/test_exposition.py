"""Metrics are texts that Prometheus understands."""

import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from meshlib.exposition import (
    OPENMETRICS,
    TEXT,
    Distribution,
    Kind,
    Metric,
    Sample,
    exposed,
    wanted_format,
)

CALLS = Metric(
    "grpc.server.call.started",
    Kind.COUNTER,
    "Calls that came in.",
    [Sample((("grpc.method", 'pkg/"A"\\\n'),), 3), Sample((("grpc.method", "other"),), 0.5)],
    "{call}",
)
TIMES = Metric(
    "grpc.server.call.duration",
    Kind.HISTOGRAM,
    "How long they took.",
    [Sample((), Distribution((0.5, 1.0, 2.5), (1, 0, 2, 4), 30.25))],
    "s",
)
ALL = (CALLS, TIMES, Metric("meshlib_in_panic", Kind.GAUGE, "So it is.", [Sample((), 1)]))


@pytest.mark.parametrize(
    ("content_type", "parse"), [(TEXT, text_string_to_metric_families), (OPENMETRICS, openmetrics)]
)
def test_what_is_exposed_is_read_back_whole(content_type, parse):
    families = {family.name: family for family in parse(exposed(ALL, content_type))}
    calls = families["grpc_server_call_started"]
    assert [(sample.name, sample.labels, sample.value) for sample in calls.samples] == [
        ("grpc_server_call_started_total", {"grpc_method": 'pkg/"A"\\\n'}, 3),
        ("grpc_server_call_started_total", {"grpc_method": "other"}, 0.5),
    ]
    times = families["grpc_server_call_duration_seconds"]
    assert times.type == "histogram"
    found = {(s.name, s.labels.get("le")): s.value for s in times.samples}
    at_most = {le: n for (name, le), n in found.items() if name.endswith("_bucket")}
    assert [float(le) for le in at_most] == [0.5, 1, 2.5, float("inf")]
    assert [*at_most.values()] == [1, 1, 3, 7]
    assert found["grpc_server_call_duration_seconds_sum", None] == 30.25
    assert found["grpc_server_call_duration_seconds_count", None] == 7
    assert families["meshlib_in_panic"].type == "gauge"


@pytest.mark.parametrize(
    ("name", "unit", "family"),
    [
        ("istio_requests_total", "", "istio_requests"),
        ("istio_request_bytes", "By", "istio_request_bytes"),
        ("istio_request_duration_milliseconds", "ms", "istio_request_duration_milliseconds"),
        ("grpc.xds_client.connected", "{bool}", "grpc_xds_client_connected"),
    ],
)
def test_a_unit_is_said_once_in_a_name(name, unit, family):
    assert Metric(name, Kind.GAUGE, "", (), unit).family == family


def test_openmetrics_is_for_those_who_ask_for_it():
    assert (
        wanted_format("application/openmetrics-text;version=1.0.0,text/plain;q=0.5") is OPENMETRICS
    )
    assert wanted_format("*/*") is TEXT
    assert exposed((), TEXT) == ""
    assert exposed((), OPENMETRICS) == "# EOF\n"


NAMES = ("le", "1a", "", "a-b", "a_b", "a b", "é", "__name__", 'x"y', "{}", "reporter")


@pytest.mark.parametrize(
    ("content_type", "parse"), [(TEXT, text_string_to_metric_families), (OPENMETRICS, openmetrics)]
)
def test_labels_that_are_none_cost_no_other_metric(content_type, parse):
    labels = tuple((name, f"of {name}") for name in NAMES)
    spread = Distribution((0.5,), (1, 0), 0.25)
    metric = Metric("hostile", Kind.HISTOGRAM, "Its labels.", [Sample(labels, spread)])
    (family, _) = parse(exposed([metric, *ALL[2:]], content_type))
    for sample in family.samples:
        told = {key: value for key, value in sample.labels.items() if key != "le"}
        assert sorted(told.values()) == sorted(value for _, value in labels)
        assert told["reporter"] == "of reporter"
        assert all(name.isidentifier() and name[:2] != "__" for name in told)
    assert [one.labels.get("le") for one in family.samples][:2] == ["0.5", "+Inf"]


def test_values_that_no_encoding_has_cost_nothing_but_themselves():
    value = '\udcff\0\r\x1b"}\n# EOF\n' + "é" * 3
    text = exposed([Metric("hostile", Kind.GAUGE, "", [Sample((("a", value),), 1)])])
    (family,) = text_string_to_metric_families(text.encode().decode())
    assert family.samples[0].labels["a"] == '??\r\x1b"}\n# EOF\nééé'


def test_prometheus_itself_has_nothing_against_it(program):
    said = subprocess.run(
        [program("promtool"), "check", "metrics"],
        check=False,
        input=exposed(ALL),
        text=True,
        capture_output=True,
    )
    assert (said.returncode, said.stderr) == (0, "")
