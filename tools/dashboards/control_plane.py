"""meshlib's control plane: who is connected, what is pushed, what is refused, how old it is."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .board import Section, board, choice, filled
from .calls import RATE, grouped
from .panels import OCTETS, SECONDS, graph, heat_map, number, text

OWN = "meshlib_control_plane_"
WHERE = '{instance=~"$instance"}'
CALLED = "ops"


def control_plane() -> Dashboard:
    variables = [choice("instance", "Instance", f"{OWN}streams", "instance", several=True)]
    sections = [glance(), pushes(), configuration(), members(), program()]
    return filled(board("control-plane", "Control plane", variables), sections)


def now(name: str, by: str = "") -> str:
    return f"sum{grouped(by)}({OWN}{name}{WHERE})"


def rate(name: str, by: str = "") -> str:
    return f"sum{grouped(by)}(rate({OWN}{name}{WHERE}[{RATE}]))"


def late(name: str, q: float) -> str:
    rates = f"sum by (le) (rate({OWN}{name}_bucket{WHERE}[{RATE}]))"
    return f"histogram_quantile({q}, {rates})"


def glance() -> Section:
    return "At a glance", [
        number("Clients", "none", now("streams")),
        number("Clients that refuse", "none", now("rejecting_streams")),
        text("Version", "version", f"{OWN}config_info{WHERE}"),
        number("Age of the configuration", SECONDS, f"max({OWN}config_age_seconds{WHERE})"),
        number("Pushes", CALLED, rate("pushes_total")),
        number("Push, p99", SECONDS, late("push_seconds", 0.99)),
    ]


def pushes() -> Section:
    answers = {
        "accepted {{type}}": rate("acks_total", "type"),
        "refused {{type}}": rate("nacks_total", "type"),
    }
    return "Pushes", [
        graph("By type", CALLED, {"{{type}}": rate("pushes_total", "type")}, stacked=True),
        graph("Answers", CALLED, answers),
        heat_map("From a change to its push", f"{OWN}push_seconds", where=WHERE),
        heat_map("From a push to its answer", f"{OWN}ack_seconds", where=WHERE),
    ]


def configuration() -> Section:
    edits = {
        "in force": rate("applied_total"),
        "refused": rate("refused_edits_total"),
        "taken back after a NACK": rate("rollbacks_total"),
    }
    turned_away = {
        "streams, {{reason}}": rate("refused_streams_total", "reason"),
        "workloads, {{code}}": rate("refused_registrations_total", "code"),
    }
    return "Configuration and clients", [
        graph("Edits", CALLED, edits),
        graph("Age", SECONDS, {"{{instance}}": f"{OWN}config_age_seconds{WHERE}"}),
        graph(
            "Clients",
            "none",
            {"{{kind}} {{protocol}}": now("streams", "kind, protocol")},
            stacked=True,
        ),
        graph("Registered workloads", "none", {"{{state}}": now("registered_workloads", "state")}),
        graph("Turned away", CALLED, turned_away),
        graph(
            "Calls, as clients report them",
            CALLED,
            {"{{cluster}} {{result}}": rate("reported_calls_total", "cluster, result")},
        ),
    ]


def members() -> Section:
    """What members tell of it; the first two are gRFC A78's, which other clients may tell, too."""
    by = "grpc_xds_server"
    return "Members", [
        graph(
            "Connected",
            "none",
            {f"{{{{{by}}}}}": f"sum{grouped(by)}(grpc_xds_client_connected)"},
            width=8,
        ),
        graph(
            "Resources that came",
            CALLED,
            {
                "accepted {{grpc_xds_resource_type}}": updates("valid"),
                "refused {{grpc_xds_resource_type}}": updates("invalid"),
            },
            width=8,
        ),
        heat_map("From a push until it is in force", "meshlib_push_to_apply_seconds", width=8),
    ]


def updates(which: str) -> str:
    metric = f"grpc_xds_client_resource_updates_{which}_total"
    return f"sum by (grpc_xds_resource_type) (rate({metric}[{RATE}]))"


def program() -> Section:
    """By the names that Prometheus' client libraries have, too."""
    memory = 'process_resident_memory_bytes{instance=~"$instance"}'
    cpu = f'rate(process_cpu_seconds_total{{instance=~"$instance"}}[{RATE}])'
    return "Program", [
        graph("Memory", OCTETS, {"{{instance}}": memory}),
        graph("Processors", "none", {"{{instance}}": cpu}),
    ]
