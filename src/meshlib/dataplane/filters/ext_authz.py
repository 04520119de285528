"""A service is asked whether a request may go on (Envoy's ext_authz filter).

Nobody to ask, no answer in time, an answer that cannot be obeyed: the request goes no further.
"""

from ...model import Exact
from ...model.authn import ExtAuthz, HttpAuthorization
from ..events import CallRecord
from ..message import Cause, Headers, Outcome, Request
from ..routing.matchers import metadata_condition, text_test
from ..steps import AskAuthorization, AuthorizationVerdict, BodyRead, ReadBody, Steps
from .access_counts import AuthorizationCounts
from .authorized import Answers, checked, headers_told, mutation, one_of, with_parameters
from .chain import FACTORIES, Filter, Service, Site
from .local_reply import local_reply

FILTER = "envoy.filters.http.ext_authz"
PARTIAL_BODY = "x-envoy-auth-partial-body"
FORBIDDEN, TOO_LARGE = 403, 413
DENIED, ERROR = "ext_authz_denied", "ext_authz_error"
FOR_HTTP = ("authorization", ":authority", ":method", ":path")
"""What a service that is asked over HTTP is shown in any case."""


class ExternalAuthorizer:
    __slots__ = (
        "_allowed",
        "_answers",
        "_cluster",
        "_config",
        "_counts",
        "_hidden",
        "_site",
        "_when",
    )

    def __init__(self, config: ExtAuthz, site: Site) -> None:
        self._config, self._site = config, site
        service = config.service
        self._cluster = None if service is None else site.clusters.get(service.cluster)
        self._answers = None
        allowed = config.allowed_headers
        if isinstance(service, HttpAuthorization):
            self._answers = Answers(service, site.regex)
            allowed = (*allowed, *map(Exact, FOR_HTTP))
        self._allowed = tuple(text_test(one, site.regex) for one in allowed)
        self._hidden = tuple(text_test(one, site.regex) for one in config.disallowed_headers)
        matcher = config.filter_enabled_metadata
        self._when = None if matcher is None else metadata_condition(matcher, site.regex).test
        key = *site.place, AuthorizationCounts, config.stat_prefix
        self._counts: AuthorizationCounts = site.kept.get(key, AuthorizationCounts)

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        if self._when is not None and not self._when(request):
            self._counts.disabled += 1
            return (yield from service(request, record))
        body = yield from self._body(request)
        if body is not None and not body.complete and not self._takes_part:
            self._counts.denied += 1
            record.details = "request_payload_too_large"
            words = "payload too large"
            return (yield from local_reply(request, record, Cause.UNAUTHORIZED, TOO_LARGE, words))
        verdict = yield from self._ask(request, body)
        if verdict.ok is None:
            return (yield from self._unasked(request, record, service, verdict))
        if not verdict.ok:
            return (yield from self._denied(request, record, verdict))
        self._counts.ok += 1
        if verdict.response_headers:
            record.responds(mutation(verdict.response_headers))
        return (yield from service(self._allowed_as(request, verdict), record))

    @property
    def _takes_part(self) -> bool:
        body = self._config.with_request_body
        return body is not None and body.allow_partial_message

    def _body(self, request: Request) -> Steps[BodyRead | None]:
        wanted = self._config.with_request_body
        if wanted is None or self._cluster is None:
            return None
        if request.body is not None:
            octets, limit = _framed(request.body), wanted.max_request_bytes
            return BodyRead(octets[:limit], len(octets) <= limit)
        found: BodyRead | None = yield ReadBody(wanted.max_request_bytes)
        return found

    def _ask(self, request: Request, body: BodyRead | None) -> Steps[AuthorizationVerdict]:
        config, service = self._config, self._config.service
        if config.with_request_body is not None and body is None:
            return AuthorizationVerdict(None, detail="the body of the request cannot be had")
        endpoint = None if self._cluster is None else self._cluster.pick()
        if service is None or endpoint is None:
            where = "any cluster" if service is None else service.cluster
            return AuthorizationVerdict(None, detail=f"nobody to ask in {where}")
        endpoint.active += 1
        try:
            verdict: AuthorizationVerdict = yield AskAuthorization(
                endpoint,
                service,
                request,
                self._shown(request, body),
                self._time_left(request),
                body,
                config.with_request_body is not None and config.with_request_body.pack_as_bytes,
                config.include_peer_certificate,
                config.context_extensions,
            )
        finally:
            endpoint.active -= 1
        return checked(verdict if self._answers is None else self._answers(verdict))

    def _time_left(self, request: Request) -> float:
        timeout = self._config.timeout
        if request.deadline is None:
            return timeout
        return max(0.0, min(timeout, request.deadline - self._site.clock()))

    def _shown(self, request: Request, body: BodyRead | None) -> Headers:
        """The request's headers as the service sees them, pseudo-headers first."""
        authority = request.authority or request.target
        pseudo = (
            (":method", request.method),
            (":path", request.path),
            (":scheme", request.scheme),
            *(((":authority", authority),) if authority else ()),
        )
        everything = (*pseudo, *(pair for pair in request.headers if pair[0] != "host"))
        shown = tuple(pair for pair in everything if self._is_shown(pair[0]))
        if body is None or not body.octets:
            return shown
        partial = "false" if body.complete else "true"
        return (*(pair for pair in shown if pair[0] != PARTIAL_BODY), (PARTIAL_BODY, partial))

    def _is_shown(self, name: str) -> bool:
        if one_of(self._hidden, name):
            return False
        return not self._allowed or one_of(self._allowed, name)

    def _unasked(
        self,
        request: Request,
        record: CallRecord,
        service: Service,
        verdict: AuthorizationVerdict,
    ) -> Steps[Outcome]:
        self._counts.error += 1
        if self._config.failure_mode_allow:
            self._counts.failure_mode_allowed += 1
            return service(request, record)
        record.details = f"{ERROR}: {verdict.detail}" if verdict.detail else ERROR
        status = self._config.status_on_error
        return local_reply(request, record, Cause.UNAUTHORIZED, status, "")

    def _denied(
        self, request: Request, record: CallRecord, verdict: AuthorizationVerdict
    ) -> Steps[Outcome]:
        self._counts.denied += 1
        record.details = DENIED
        return local_reply(
            request,
            record,
            Cause.UNAUTHORIZED,
            verdict.status or FORBIDDEN,
            verdict.body.decode("utf-8", "replace"),
            headers=headers_told(verdict, is_grpc=request.is_grpc),
            body=verdict.body,
        )

    def _allowed_as(self, request: Request, verdict: AuthorizationVerdict) -> Request:
        """The request as the service wants it to go on."""
        headers, path = request.headers, with_parameters(request.path, verdict)
        if verdict.request_headers or verdict.headers_to_remove:
            headers = mutation(verdict.request_headers, verdict.headers_to_remove)(headers)
        if headers is not request.headers or path != request.path:
            request = request.altered(path=path, authority=request.authority, headers=headers)
        if verdict.dynamic_metadata is not None:
            request = request.noted(FILTER, verdict.dynamic_metadata)
        return request


def _framed(message: bytes) -> bytes:
    """As a message of gRPC stands in the body of a request."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def ext_authz(config: ExtAuthz, site: Site) -> Filter | None:
    return ExternalAuthorizer(config, site) if config.enabled else None


FACTORIES[ExtAuthz] = ext_authz
