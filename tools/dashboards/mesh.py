"""The whole mesh at a glance: how much, how well, who, how fast, how safe, which versions."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .board import Section, board, choice, filled, reporter
from .calls import (
    RATE,
    client_errors,
    duration,
    grouped,
    server_errors,
    share,
    success_rate,
    volume,
)
from .panels import CALLS, MILLISECONDS, SECONDS, SHARE, graph, number, table

WHERE = 'reporter=~"$reporter",destination_service_namespace=~"$namespace"'
SECURITY = "{{connection_security_policy}}"
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
    sections = [glance(), workloads(), lines(), versions(), members()]
    return filled(board("mesh", "Mesh", variables), sections)


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
    secured = volume(SERVED, f"{by}, connection_security_policy")
    return "Versions", [
        graph("Traffic by version", CALLS, {line: volume(WHERE, by)}, stacked=True),
        graph("By version and security", CALLS, {f"{line} {SECURITY}": secured}, stacked=True),
    ]


def members() -> Section:
    """What only members of meshlib tell; empty on meshes of sidecars."""
    in_force = f"count{grouped('version')}(meshlib_config_info)"
    ejected = f'sum{grouped("cluster")}(meshlib_cluster_endpoints{{state="ejected"}})'
    full = f"sum{grouped('cluster')}(meshlib_circuit_breaker_open)"
    retries = f"sum{grouped('cluster, kind')}(rate(meshlib_retries_total[{RATE}]))"
    ends = f"min{grouped('instance')}(meshlib_certificate_expiry_timestamp_seconds) - time()"
    plain = f"sum{grouped('caller')}(rate(meshlib_plaintext_calls_total[{RATE}]))"
    faults = f"sum{grouped('place, kind')}(rate(meshlib_faults_total[{RATE}]))"
    failed = f'meshlib_health_checks_total{{result!="passed"}}[{RATE}]'
    checks = f"sum{grouped('cluster, result')}(rate({failed}))"
    return "Members of meshlib", [
        graph("Configurations in force", "none", {"{{version}}": in_force}, stacked=True),
        graph("Attempts after others", CALLS, {"{{cluster}} {{kind}}": retries}),
        graph("Endpoints left out", "none", {"{{cluster}}": ejected}),
        graph("Circuit breakers open", "none", {"{{cluster}}": full}),
        graph("Certificates end in", SECONDS, {"{{instance}}": ends}),
        graph("Calls without TLS", CALLS, {"{{caller}}": plain}),
        graph("Faults on purpose", CALLS, {"{{place}} {{kind}}": faults}),
        graph("Health checks that failed", CALLS, {"{{cluster}} {{result}}": checks}),
    ]
