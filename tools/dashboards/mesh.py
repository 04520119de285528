"""The whole mesh at a glance: how much, how well, who, how fast, how safe, which versions."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .board import Section, board, choice, filled, reporter
from .calls import client_errors, duration, grouped, server_errors, share, success_rate, volume
from .panels import CALLS, MILLISECONDS, SHARE, graph, number, table

WHERE = 'reporter=~"$reporter",destination_service_namespace=~"$namespace"'
SECURED = 'connection_security_policy="mutual_tls"'
SERVED = 'reporter="destination",destination_service_namespace=~"$namespace"'
"""Whether a connection was secured is what its server knows."""

WORKLOAD = "destination_workload, destination_workload_namespace, destination_service"
NAMES = {
    "destination_service": "Service",
    "destination_workload": "Workload",
    "destination_workload_namespace": "Namespace",
}


def mesh() -> Dashboard:
    variables = [
        choice(
            "namespace",
            "Namespace",
            "istio_requests_total",
            "destination_service_namespace",
            several=True,
        ),
        reporter(client=True),
    ]
    return filled(board("mesh", "Mesh", variables), [glance(), workloads(), lines(), versions()])


def glance() -> Section:
    return "At a glance", [
        number("Traffic", CALLS, volume(WHERE), width=6),
        number("Success rate", SHARE, success_rate(WHERE), width=6),
        number("4xx", CALLS, client_errors(WHERE)),
        number("5xx", CALLS, server_errors(WHERE)),
        number("By mutual TLS", SHARE, share(SECURED, SERVED)),
    ]


def workloads() -> Section:
    columns = {
        "Calls": (CALLS, volume(WHERE, WORKLOAD)),
        "p50": (MILLISECONDS, duration(0.5, WHERE, WORKLOAD)),
        "p90": (MILLISECONDS, duration(0.9, WHERE, WORKLOAD)),
        "p99": (MILLISECONDS, duration(0.99, WHERE, WORKLOAD)),
        "Success rate": (SHARE, success_rate(WHERE, WORKLOAD)),
    }
    return "Workloads", [table("HTTP and gRPC", columns, NAMES)]


def lines() -> Section:
    by = "destination_service"
    return "Services", [
        graph("Traffic", CALLS, {"{{destination_service}}": volume(WHERE, by)}),
        graph("Success rate", SHARE, {"{{destination_service}}": success_rate(WHERE, by)}),
        graph(
            "Duration, p99", MILLISECONDS, {"{{destination_service}}": duration(0.99, WHERE, by)}
        ),
        graph("By mutual TLS", SHARE, {"{{destination_service}}": share(SECURED, SERVED, by)}),
    ]


def versions() -> Section:
    by = "destination_canonical_service, destination_canonical_revision"
    line = "{{destination_canonical_service}} {{destination_canonical_revision}}"
    members = f"count{grouped('version')}(meshlib_build_info)"
    return "Versions", [
        graph("Traffic by version", CALLS, {line: volume(WHERE, by)}, stacked=True),
        graph("meshlib in the members", "none", {"{{version}}": members}, stacked=True),
    ]
