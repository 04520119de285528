"""What is asked of calls, in PromQL. ``where``: matchers; ``by``: labels to split by."""

RATE = "$__rate_interval"
NO_SERVER_ERROR = 'response_code!~"5..|0",grpc_response_status!~"2|4|12|13|14|15"'
"""gRPC answers 200 whatever happened; these are the statuses that are a server's fault."""

NO_ERROR = 'response_code!~"[45]..|0",grpc_response_status!~"[1-9]|1[0-6]"'


def volume(where: str, by: str = "") -> str:
    return f"sum{grouped(by)}(rate(istio_requests_total{{{where}}}[{RATE}]))"


def success_rate(where: str, by: str = "") -> str:
    """The share that no server spoiled; nothing where nobody called."""
    return f"{unspoiled(where, by)} / {volume(where, by)}"


def server_errors(where: str, by: str = "") -> str:
    return f"{volume(where, by)} - {unspoiled(where, by)}"


def client_errors(where: str, by: str = "") -> str:
    fine = volume(f"{where},{NO_ERROR}", by)
    return f"{unspoiled(where, by)} - ({fine} or 0 * {volume(where, by)})"


def unspoiled(where: str, by: str = "") -> str:
    """Where each call failed there is no series of others: that is zero, not unknown."""
    return f"({volume(f'{where},{NO_SERVER_ERROR}', by)} or 0 * {volume(where, by)})"


def share(where: str, of: str, by: str = "") -> str:
    part = volume(f"{of},{where}", by)
    return f"({part} or 0 * {volume(of, by)}) / {volume(of, by)}"


def quantile(q: float, metric: str, where: str, by: str = "") -> str:
    split = f"{by}, le" if by else "le"
    rates = f"sum by ({split}) (rate({metric}_bucket{{{where}}}[{RATE}]))"
    return f"histogram_quantile({q}, {rates})"


def duration(q: float, where: str, by: str = "") -> str:
    """In milliseconds."""
    return quantile(q, "istio_request_duration_milliseconds", where, by)


def throughput(metric: str, where: str, by: str = "") -> str:
    """Of a histogram of sizes: octets in a second."""
    return f"sum{grouped(by)}(rate({metric}_sum{{{where}}}[{RATE}]))"


def grouped(by: str) -> str:
    return f" by ({by}) " if by else ""
