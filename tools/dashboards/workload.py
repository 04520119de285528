"""One workload: what comes in, and what goes out."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from .board import Section, board, choice, filled, reporter
from .calls import duration, quantile, success_rate, throughput, volume
from .panels import CALLS, MILLISECONDS, OCTETS, SHARE, graph, number

SERVES = (
    'reporter=~"$reporter",destination_workload_namespace=~"$namespace",'
    'destination_workload=~"$workload"'
)
CALLS_OUT = (
    'reporter=~"source|waypoint",source_workload_namespace=~"$namespace",'
    'source_workload=~"$workload"'
)
"""What goes out is counted by who sends it: only members report as servers."""

SECURED = "connection_security_policy"
SOURCE = "{{source_workload}}.{{source_workload_namespace}}"
BY_SOURCE = "source_workload, source_workload_namespace"
CODES = "response_code, grpc_response_status"


def workload() -> Dashboard:
    among = 'istio_requests_total{destination_workload_namespace=~"$namespace"}'
    variables = [
        choice("namespace", "Namespace", "istio_requests_total", "destination_workload_namespace"),
        choice("workload", "Workload", among, "destination_workload"),
        reporter(client=False),
    ]
    sections = [glance(), inbound(), outbound(), sizes()]
    return filled(board("workload", "Workload", variables), sections)


def glance() -> Section:
    return "$workload", [
        number("Comes in", CALLS, volume(SERVES), width=6),
        number("Success rate, in", SHARE, success_rate(SERVES), width=6),
        number("Goes out", CALLS, volume(CALLS_OUT), width=6),
        number("Success rate, out", SHARE, success_rate(CALLS_OUT), width=6),
    ]


def inbound() -> Section:
    by, line = (
        f"{BY_SOURCE}, {CODES}",
        f"{SOURCE}: {{{{response_code}}}} {{{{grpc_response_status}}}}",
    )
    secured = volume(SERVES, SECURED)
    return "Comes in", [
        graph("By caller and code", CALLS, {line: volume(SERVES, by)}),
        graph("By security", CALLS, {"{{connection_security_policy}}": secured}, stacked=True),
        graph("Success rate", SHARE, {SOURCE: success_rate(SERVES, BY_SOURCE)}),
        graph("Duration", MILLISECONDS, durations(SERVES)),
    ]


def outbound() -> Section:
    by, line = "destination_service", "{{destination_service}}"
    codes = f"{by}, {CODES}, response_flags"
    coded = f"{line}: {{{{response_code}}}} {{{{grpc_response_status}}}} {{{{response_flags}}}}"
    return "Goes out", [
        graph("By service and code", CALLS, {coded: volume(CALLS_OUT, codes)}),
        graph("By service", CALLS, {line: volume(CALLS_OUT, by)}, stacked=True),
        graph("Success rate", SHARE, {line: success_rate(CALLS_OUT, by)}),
        graph("Duration, p99", MILLISECONDS, {line: duration(0.99, CALLS_OUT, by)}),
    ]


def sizes() -> Section:
    asked, answered = "istio_request_bytes", "istio_response_bytes"
    return "Sizes", [
        graph("In: size, p90", OCTETS, p90(SERVES)),
        graph("Out: size, p90", OCTETS, p90(CALLS_OUT)),
        graph(
            "Octets a second",
            "Bps",
            {
                "in: requests": throughput(asked, SERVES),
                "in: responses": throughput(answered, SERVES),
                "out: requests": throughput(asked, CALLS_OUT),
                "out: responses": throughput(answered, CALLS_OUT),
            },
        ),
        graph(
            "gRPC messages a second",
            "mps",
            {
                "in: of requests": messages("request", SERVES),
                "in: of responses": messages("response", SERVES),
                "out: of requests": messages("request", CALLS_OUT),
                "out: of responses": messages("response", CALLS_OUT),
            },
        ),
    ]


def p90(where: str) -> dict[str, str]:
    return {
        "requests": quantile(0.9, "istio_request_bytes", where),
        "responses": quantile(0.9, "istio_response_bytes", where),
    }


def messages(which: str, where: str) -> str:
    return f"sum(rate(istio_{which}_messages_total{{{where}}}[$__rate_interval]))"


def durations(where: str) -> dict[str, str]:
    return {f"p{round(100 * q)}": duration(q, where) for q in (0.5, 0.9, 0.99)}
