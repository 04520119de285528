"""A limit that a service keeps for all: it is asked before the call goes on (Envoy's RLS)."""

from typing import TYPE_CHECKING

from ...model import GlobalRateLimit
from ..events import CallRecord
from ..message import Cause, Headers, Outcome, Request
from ..statuses import RESOURCE_EXHAUSTED
from ..steps import AskRateLimit, RateLimitVerdict, Steps
from .access_counts import RateLimitCounts
from .chain import FACTORIES, Filter, Service, Site
from .descriptors import Descriptor, Descriptors
from .local_rate_limit import TOO_MANY, X_ENVOY_RATELIMITED
from .local_reply import adding, local_reply

if TYPE_CHECKING:
    from ..upstream.cluster import UpstreamCluster

LIMITED = "rate limited"
UNASKED = "rate limit service unavailable"


class GlobalRateLimiter:
    __slots__ = ("_cluster", "_config", "_counts", "_descriptors", "_site")

    def __init__(self, config: GlobalRateLimit, descriptors: Descriptors, site: Site) -> None:
        self._config = config
        self._descriptors = descriptors
        self._cluster = site.clusters.get(config.cluster)
        self._site = site
        key = *site.place, RateLimitCounts, config.domain
        self._counts: RateLimitCounts = site.kept.get(key, RateLimitCounts)

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        descriptors = self._descriptors(request, record)
        if not descriptors:
            return (yield from service(request, record))
        verdict = yield from self._ask(self._cluster, descriptors, request)
        self._count(verdict)
        if verdict.ok is None and self._config.failure_mode_deny:
            return (yield from self._unasked(request, record, verdict))
        told = self._told(verdict)
        if verdict.ok is False:
            return (yield from self._limited(request, record, verdict, told))
        if told:
            record.responds(adding(told))
        return (yield from service(_with(request, verdict.request_headers), record))

    def _count(self, verdict: RateLimitVerdict) -> None:
        counts = self._counts
        if verdict.ok is None:
            counts.error += 1
            counts.failure_mode_allowed += not self._config.failure_mode_deny
        elif verdict.ok:
            counts.ok += 1
        else:
            counts.limited += 1

    def _ask(
        self,
        cluster: "UpstreamCluster | None",
        descriptors: tuple[Descriptor, ...],
        request: Request,
    ) -> Steps[RateLimitVerdict]:
        endpoint = cluster.pick() if cluster is not None else None
        if endpoint is None:
            return RateLimitVerdict(None, detail=f"nobody to ask in {self._config.cluster}")
        timeout = self._config.timeout
        if request.deadline is not None:
            timeout = max(0.0, min(timeout, request.deadline - self._site.clock()))
        endpoint.active += 1
        try:
            verdict: RateLimitVerdict = yield AskRateLimit(
                endpoint, self._config.domain, descriptors, timeout
            )
        finally:
            endpoint.active -= 1
        return verdict

    def _unasked(
        self, request: Request, record: CallRecord, verdict: RateLimitVerdict
    ) -> Steps[Outcome]:
        words = f"{UNASKED}: {verdict.detail}" if request.is_grpc else UNASKED
        status = self._config.status_on_error
        return local_reply(request, record, Cause.RATE_LIMIT_SERVICE, status, words)

    def _limited(
        self, request: Request, record: CallRecord, verdict: RateLimitVerdict, told: Headers
    ) -> Steps[Outcome]:
        config = self._config
        if not config.disable_x_envoy_ratelimited_header:
            told = (X_ENVOY_RATELIMITED, *told)
        return local_reply(
            request,
            record,
            Cause.RATE_LIMITED,
            config.status if config.status >= 400 else TOO_MANY,
            verdict.body.decode("utf-8", "replace") or LIMITED,
            grpc_status=RESOURCE_EXHAUSTED if config.rate_limited_as_resource_exhausted else None,
            headers=told,
            body=verdict.body,
        )

    def _told(self, verdict: RateLimitVerdict) -> Headers:
        """What the caller hears of the verdict."""
        if self._config.headers == "off" or not verdict.limit:
            return verdict.response_headers
        return (
            *verdict.response_headers,
            ("x-ratelimit-limit", verdict.limit),
            ("x-ratelimit-remaining", str(verdict.remaining or 0)),
            ("x-ratelimit-reset", str(int(verdict.reset or 0))),
        )


def _with(request: Request, headers: Headers) -> Request:
    if not headers:
        return request
    return request.altered(
        path=request.path, authority=request.authority, headers=(*request.headers, *headers)
    )


def global_rate_limit(config: GlobalRateLimit, site: Site) -> Filter | None:
    descriptors = Descriptors.chosen(config.rate_limits, config.stage, site)
    return GlobalRateLimiter(config, descriptors, site) if descriptors else None


FACTORIES[GlobalRateLimit] = global_rate_limit
