"""What is asked of a mesh without a call: how a request would look, and what an error means."""

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from ..dataplane import Request
from ..errors import CallReport

PORTS = {"http": 80, "https": 443}


def request_for(method: str, url: str, headers: Mapping[str, str] | None = None) -> Request:
    """A request as the hooks would make it of such a call.

    Raises :class:`ValueError` for what is no URL with a host.
    """
    parts = _split(url)
    is_grpc = parts.scheme in ("grpc", "xds")
    scheme = "http" if is_grpc or not parts.scheme else parts.scheme
    host = parts.hostname or ""
    port = parts.port or (None if is_grpc else PORTS.get(scheme))
    pairs = tuple((name.lower(), value) for name, value in (headers or {}).items())
    authority = next((value for name, value in pairs if name == "host"), parts.netloc.lower())
    query = f"?{parts.query}" if parts.query else ""
    return Request(
        target=f"{host}:{port}" if port else host,
        method="POST" if is_grpc else method.upper(),
        path=(parts.path or "/") + query,
        authority=authority,
        scheme=scheme,
        headers=tuple(pair for pair in pairs if pair[0] != "host"),
        is_grpc=is_grpc,
    )


def _split(url: str) -> SplitResult:
    if url.startswith("xds:///"):  # as channels take it
        url = "grpc://" + url.removeprefix("xds:///")
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    known = "http://reviews:9080/path or grpc://reviews:9080/package.Service/Method"
    raise ValueError(f"{url!r} is not a URL like {known}")


def explain(error: BaseException) -> str:
    """Say in words what the mesh knows of a failed call; works for errors of any hook."""
    report = getattr(error, "mesh", None)
    if not isinstance(report, CallReport):
        return f"{type(error).__name__}: not an error of a call through the mesh"
    lines = [f"{report.detail or error} ({report.host})"]
    facts = {
        "rule": report.rule,
        "route": report.route,
        "cluster": report.cluster,
        "endpoint": report.endpoint,
        "attempts": str(report.attempts),
        "flags": ",".join(report.flags),
        "config": report.config_version,
        "node": report.node,
    }
    lines += [f"  {name:<9}{value}" for name, value in facts.items() if value]
    return "\n".join(lines)
