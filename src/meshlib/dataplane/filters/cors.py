"""Cross-origin requests: preflights answered, answers marked (Envoy's cors filter)."""

from ...model import Cors
from ..events import CallRecord
from ..message import Headers, Outcome, Request, Response
from ..routing.matchers import text_test
from ..steps import Steps, deliver
from .chain import FACTORIES, Filter, Service, Site
from .local_reply import described, falls_under, setting

ORIGIN = "access-control-allow-origin"


class CorsFilter:
    """Says what a browser may do with the answer; it never refuses a call."""

    __slots__ = ("_config", "_origins", "_site")

    def __init__(self, config: Cors, site: Site) -> None:
        self._config = config
        self._site = site
        self._origins = tuple(text_test(origin, site.regex) for origin in config.allow_origins)

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        origin = None if request.is_grpc else request.header("origin")
        if not origin or not falls_under(self._config.filter_enabled, self._site.dice):
            return service(request, record)
        allowed = any(test("*") or test(origin) for test in self._origins)
        if _is_preflight(request) and (allowed or not self._config.forward_not_matching_preflights):
            record.details = "cors_response"
            headers = self._preflight(request, origin if allowed else "")
            return deliver(record, Response(200, (*headers, *described(b""))))
        if allowed:
            record.responds(setting(self._actual(origin)))
        return service(request, record)

    def _preflight(self, request: Request, origin: str) -> Headers:
        config = self._config
        credentials = "true" if config.allow_credentials else ""
        return (
            *_said((ORIGIN, origin), ("access-control-allow-credentials", credentials)),
            *_asked("method", config.allow_methods, request),
            *_asked("headers", config.allow_headers, request),
            *_said(
                ("access-control-expose-headers", config.expose_headers if origin else ""),
                ("access-control-max-age", config.max_age),
            ),
        )

    def _actual(self, origin: str) -> Headers:
        config = self._config
        return _said(
            (ORIGIN, origin),
            ("access-control-allow-credentials", "true" if config.allow_credentials else ""),
            ("access-control-expose-headers", config.expose_headers),
        )


def _is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and bool(request.header("access-control-request-method"))


def _asked(what: str, allowed: str, request: Request) -> Headers:
    """``*`` allows whatever was asked for, be it nothing."""
    name = f"access-control-allow-{what.rstrip('s')}s"
    if allowed != "*":
        return _said((name, allowed))
    return ((name, request.header(f"access-control-request-{what}") or ""),)


def _said(*headers: tuple[str, str]) -> Headers:
    return tuple(pair for pair in headers if pair[1])


def cors(config: Cors, site: Site) -> Filter | None:
    """Without a policy there is nothing to say."""
    if config == Cors() or not config.filter_enabled.share:
        return None
    return CorsFilter(config, site)


FACTORIES[Cors] = cors
