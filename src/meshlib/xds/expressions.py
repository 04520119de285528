"""Expressions of configuration (CEL): which of them are refused, and why."""

import re
from functools import lru_cache

from ..model.format import FormatError, Operator
from ..model.log_format import parse_log_format

MAX_LENGTH = 2048
MAX_LOOPS = 2
"""Each loop within a loop multiplies what one call may cost."""

SILENT = frozenset(
    {"filter_state", "upstream_filter_state", "cluster_metadata", "listener_metadata"}
)
"""What Envoy or Istio may know of a call, and nobody here: it has no value."""
_WORKLOAD = "workload workload_namespace canonical_service canonical_revision app version cluster"
_PEER = "workload name namespace service revision app version cluster principal labels"
TOLD = {
    "request": "duration headers host id method path protocol query referer scheme size time "
    "total_size url_path useragent",
    "response": "backend_latency code code_details flags grpc_status headers size total_size "
    "trailers",
    "source": f"address port principal {_WORKLOAD}",
    "destination": f"address port principal {_WORKLOAD}",
    "connection": "dns_san_peer_certificate mtls requested_server_name subject_peer_certificate "
    "uri_san_peer_certificate",
    "upstream": "address port request_attempt_count",
    "node": "metadata",
    "downstream_peer": _PEER,
    "upstream_peer": _PEER,
    "xds": "cluster_name listener_direction node route_metadata route_name upstream_host_metadata",
}
"""What can be told of each, where it is known."""
ROOTS = SILENT | frozenset(
    {"request", "response", "source", "destination", "connection", "upstream"}
    | {"metadata", "xds", "cluster_name", "route_name", "route_metadata"}
    | {"listener_direction", "upstream_host_metadata"}
    | {"node", "upstream_peer", "downstream_peer"}
)
"""What Envoy and Istio know of a call, by its first name."""

FUNCTIONS = frozenset(
    {"bool", "bytes", "contains", "double", "duration", "dyn", "endsWith", "int", "matches"}
    | {"size", "startsWith", "string", "timestamp", "type", "uint"}
    | {"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours"}
    | {"getMilliseconds", "getMinutes", "getMonth", "getSeconds"}
    | {"charAt", "indexOf", "join", "lastIndexOf", "lowerAscii", "replace", "split", "substring"}
    | {"trim", "upperAscii"}
)
_TYPES = frozenset(
    {"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"}
)
_GAP = r"(?:\s|//[^\n]*\n)*"
_LOOP = re.compile(rf"\.{_GAP}(?:all|exists|exists_one|existsOne|filter|map){_GAP}\({_GAP}(\w+)")
_NAMED = re.compile(r"\w+")
_QUOTED = re.compile(r"""\"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""")
_FIELD = re.compile(rf"(?<![\w.])({'|'.join(TOLD)})\s*\.\s*(\w+)(?!\s*\(|\w)")


@lru_cache(maxsize=4096)
def why_not_cel(text: str) -> str:
    """Why the expression is refused, to be read after its name; or ""."""
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    loops = _LOOP.findall(text)
    if len(loops) > MAX_LOOPS:
        return f"has more than {MAX_LOOPS} loops"
    import cel

    try:
        known = cel.compile(text).references()
    except ValueError as refused:
        return f"is not a valid CEL expression: {_first_line(refused)}"
    for name in known["variables"]:
        if name not in ROOTS and name not in loops and name not in _TYPES:
            return f"speaks of {name!r}, of which nothing is known"
    for name in known["functions"]:
        if _NAMED.fullmatch(name) and not name.startswith("_") and name not in FUNCTIONS:
            return f"calls {name!r}, which is no function"
    return ""


def silent_in(text: str) -> tuple[str, ...]:
    """What a valid expression asks for that nobody here can tell."""
    import cel

    roots = [name for name in cel.compile(text).references()["variables"] if name in SILENT]
    asked = dict.fromkeys(_FIELD.findall(_QUOTED.sub("''", text)))
    fields = [f"{root}.{field}" for root, field in asked if field not in TOLD[root].split()]
    return (*roots, *fields)


def why_not_log_format(text: str) -> str:
    """Why a format of access logs is refused, with the expressions in it; or ""."""
    try:
        parts = parse_log_format(text)
    except FormatError as refused:
        return str(refused)
    asked = (part for part in parts if isinstance(part, Operator) and part.name == "CEL")
    refusals = ((part.argument, why_not_cel(part.argument)) for part in asked)
    return next((f"%CEL({asked[:80]})% {why}" for asked, why in refusals if why), "")


def operators_in(text: str) -> frozenset[str]:
    """The names of the operators in a valid format of access logs."""
    parts = parse_log_format(text)
    return frozenset(part.name for part in parts if isinstance(part, Operator))


def _first_line(refused: Exception) -> str:
    found = re.search(r"ERROR: <input>:(\d+):(\d+): ([^\n]*)", str(refused))
    if found is None:
        return str(refused).splitlines()[0][:200]
    return f"{found[3][:200]} (line {found[1]}, column {found[2]})"
