"""A request of aiohttp's as it came, and as its handler is to see it."""

from typing import Any

from aiohttp import hdrs, web
from yarl import URL

from ..dataplane import Request
from ._aiohttp_message import changed


def target_of(native: web.Request) -> str:
    """Path and query; a target that says more than they do, all as it came."""
    target = native.raw_path
    if target[:1] == "/" and "#" not in target:
        return native.rel_url.raw_path_qs
    if target == "*":
        return target
    named = URL(target, encoded=True)
    same = named.raw_authority.lower() == native.headers.get(hdrs.HOST, "").lower()
    return named.raw_path_qs if same and "#" not in target else target


def shown(native: web.Request, came: Request, served: Request) -> web.Request:
    """The request itself, unless what stands before the handler changed something of it."""
    if served is came:
        return native
    changes: dict[str, Any] = {}
    if served.path != came.path:
        changes["rel_url"] = url_of(served.path)
    if served.headers is not came.headers:
        changes["headers"] = changed(native.headers.copy(), came.headers, served.headers)
    return cloned(native, **changes) if changes else native


def cloned(native: web.Request, **changes: Any) -> web.Request:
    """As aiohttp has it, but of a request too whose body was read already."""
    body, native._read_bytes = native._read_bytes, None  # noqa: SLF001
    try:
        made = native.clone(**changes)
    finally:
        native._read_bytes = body  # noqa: SLF001
    made._read_bytes = body  # noqa: SLF001
    return made


def url_of(path: str) -> URL:
    plain, _, query = path.partition("?")
    return URL.build(path=plain, query_string=query, encoded=True)
