"""One service, from both ends: what its callers see, and what it sees of them."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .board import Section, board, choice, filled
from .calls import RATE, duration, grouped, quantile, success_rate, throughput, volume
from .panels import CALLS, MILLISECONDS, OCTETS, SHARE, graph, number

OF_SERVICE = 'destination_service=~"$service"'
CALLERS = (
    'source_workload_namespace=~"$source_namespace",source_workload=~"$source_workload",'
    f"{OF_SERVICE}"
)
CLIENT = f'reporter=~"source|waypoint",{CALLERS}'
SERVER = f'reporter="destination",{CALLERS}'
BY_CODE = "source_workload, source_workload_namespace, response_code, grpc_response_status"
CODE = (
    "{{source_workload}}.{{source_workload_namespace}}: {{response_code}} {{grpc_response_status}}"
)
BY_SOURCE = "source_workload, source_workload_namespace"
SOURCE = "{{source_workload}}.{{source_workload_namespace}}"
OF_CLUSTER = 'cluster=~".+[|]$service"'
DENIED = "meshlib_retries_denied_total"
FAILED = "meshlib_failed_attempts_total"
CAME = "response_code, grpc_response_status, response_flags"
FAILURE = "{{response_code}} {{grpc_response_status}} {{response_flags}}"
BY_WORKLOAD = "destination_workload, destination_workload_namespace"
WORKLOAD = "{{destination_workload}}.{{destination_workload_namespace}}"


def service() -> Dashboard:
    called = f"istio_requests_total{{{OF_SERVICE}}}"
    among = 'istio_requests_total{destination_service_namespace=~"$namespace"}'
    variables = [
        choice(
            "namespace",
            "Namespace",
            "istio_requests_total",
            "destination_service_namespace",
            several=True,
        ),
        choice("service", "Service", among, "destination_service"),
        choice(
            "source_namespace",
            "Namespace of callers",
            called,
            "source_workload_namespace",
            several=True,
        ),
        choice("source_workload", "Callers", called, "source_workload", several=True),
    ]
    sections = [glance(), callers(), workloads(), retries(), sizes()]
    return filled(board("service", "Service", variables), sections)


def glance() -> Section:
    return "$service", [
        number("Traffic, clients say", CALLS, volume(CLIENT), width=6),
        number("Success rate, clients say", SHARE, success_rate(CLIENT), width=6),
        number("Traffic, servers say", CALLS, volume(SERVER), width=6),
        number("Success rate, servers say", SHARE, success_rate(SERVER), width=6),
        graph("Duration, clients say", MILLISECONDS, durations(CLIENT)),
        graph("Duration, servers say", MILLISECONDS, durations(SERVER)),
    ]


def callers() -> Section:
    return "Callers", [
        graph("By caller and code, clients say", CALLS, {CODE: volume(CLIENT, BY_CODE)}),
        graph("By caller and code, servers say", CALLS, {CODE: volume(SERVER, BY_CODE)}),
        graph("Success rate by caller", SHARE, {SOURCE: success_rate(CLIENT, BY_SOURCE)}),
        graph("Duration by caller, p99", MILLISECONDS, {SOURCE: duration(0.99, CLIENT, BY_SOURCE)}),
    ]


def workloads() -> Section:
    p99 = duration(0.99, SERVER, BY_WORKLOAD)
    return "Workloads that serve", [
        graph("Traffic", CALLS, {WORKLOAD: volume(SERVER, BY_WORKLOAD)}, width=8),
        graph("Success rate", SHARE, {WORKLOAD: success_rate(SERVER, BY_WORKLOAD)}, width=8),
        graph("Duration, p99", MILLISECONDS, {WORKLOAD: p99}, width=8),
    ]


def retries() -> Section:
    """What only callers of meshlib tell."""
    return "Attempts after others, callers of meshlib say", [
        graph("Made, by why", CALLS, {"{{kind}}": attempts("meshlib_retries_total", "kind")}),
        graph("Denied, by why", CALLS, {"{{reason}}": attempts(DENIED, "reason")}),
        graph("Failed, by what came of them", CALLS, {FAILURE: attempts(FAILED, CAME)}, width=24),
    ]


def attempts(metric: str, by: str) -> str:
    return f"sum{grouped(by)}(rate({metric}{{{OF_CLUSTER}}}[{RATE}]))"


def sizes() -> Section:
    def panels(title: str, metric: str) -> list[tuple[str, dict[str, str]]]:
        return [
            (f"{title}: size", {f"p{round(100 * q)}": quantile(q, metric, SERVER) for q in QS}),
            (f"{title}: octets a second", {SOURCE: throughput(metric, SERVER, BY_SOURCE)}),
        ]

    asked = panels("Requests", "istio_request_bytes")
    answered = panels("Responses", "istio_response_bytes")
    units = (OCTETS, "Bps") * 2
    return "Sizes", [
        graph(title, unit, queries)
        for unit, (title, queries) in zip(units, asked + answered, strict=True)
    ]


QS = (0.5, 0.9, 0.99)


def durations(where: str) -> dict[str, str]:
    return {f"p{round(100 * q)}": duration(q, where) for q in QS}
