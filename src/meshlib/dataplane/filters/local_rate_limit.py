"""A limit that this member keeps by itself, with tokens of its own."""

from collections.abc import Sequence

from ...model import LocalRateLimit, TokenBucket
from ..events import CallRecord
from ..message import Cause, Headers, Outcome, Request
from ..statuses import RESOURCE_EXHAUSTED
from ..steps import Steps
from .access_counts import RateLimitCounts
from .chain import FACTORIES, Filter, Service, Site
from .descriptors import Descriptor, Descriptors
from .local_reply import adding, falls_under, local_reply
from .token_bucket import Bucket, Buckets

LIMITED = "local_rate_limited"
TOO_MANY = 429
X_ENVOY_RATELIMITED = ("x-envoy-ratelimited", "true")


class Limiter:
    """The tokens of one configuration, wherever it holds."""

    __slots__ = ("_always", "_default", "_dynamic", "_exact")

    def __init__(self, config: LocalRateLimit, tokens: TokenBucket, site: Site) -> None:
        self._always = config.always_consume_default_token_bucket
        self._default = Bucket(tokens, site.clock)
        self._exact: dict[Descriptor, Bucket] = {}
        self._dynamic: list[tuple[Descriptor, Buckets]] = []
        for descriptor in config.descriptors:
            if all(value for _, value in descriptor.entries):
                self._exact[descriptor.entries] = Bucket(descriptor.token_bucket, site.clock)
            else:
                most = config.max_dynamic_descriptors
                buckets = Buckets(descriptor.token_bucket, most, site.clock)
                self._dynamic.append((descriptor.entries, buckets))

    def take(self, descriptors: Sequence[Descriptor]) -> tuple[bool, Bucket]:
        """Is there a token in every bucket that counts; and the one to tell the caller of.

        The slowest to refill is asked first, so that what it refuses costs the others nothing.
        """
        found = [bucket for d in descriptors if (bucket := self._bucket(d)) is not None]
        found.sort(key=lambda bucket: bucket.rate)
        for bucket in found:
            if not bucket.take():
                return False, bucket
        if (self._always or not found) and not self._default.take():
            return False, self._default
        return True, found[0] if found else self._default

    def _bucket(self, descriptor: Descriptor) -> Bucket | None:
        exact = self._exact.get(descriptor)
        if exact is not None:
            return exact
        for entries, buckets in self._dynamic:
            if _fits(entries, descriptor):
                return buckets.of(tuple(value for _, value in descriptor))
        return None


def _fits(entries: Descriptor, descriptor: Descriptor) -> bool:
    """Key by key the same; an entry without value stands for any."""
    return len(entries) == len(descriptor) and all(
        key == given_key and value in ("", given)
        for (key, value), (given_key, given) in zip(entries, descriptor, strict=True)
    )


class LocalRateLimiter:
    __slots__ = ("_config", "_counts", "_descriptors", "_limiter", "_site", "_status")

    def __init__(self, config: LocalRateLimit, tokens: TokenBucket, site: Site) -> None:
        self._config = config
        self._site = site
        self._status = config.status if config.status >= 400 else TOO_MANY
        self._descriptors: Descriptors | None = None
        if config.descriptors:
            self._descriptors = Descriptors.chosen(config.rate_limits, config.stage, site)
        key = *site.place, RateLimitCounts, config.stat_prefix
        self._counts: RateLimitCounts = site.kept.get(key, RateLimitCounts)
        self._limiter = site.kept.get((*site.place, config), lambda: Limiter(config, tokens, site))

    def __call__(self, request: Request, record: CallRecord, service: Service) -> Steps[Outcome]:
        config, dice = self._config, self._site.dice
        if not falls_under(config.filter_enabled, dice):
            return service(request, record)
        wanted = self._descriptors(request, record) if self._descriptors is not None else ()
        allowed, bucket = self._limiter.take(wanted)
        if config.headers != "off":
            record.responds(adding(_told(bucket)))
        if allowed:
            self._counts.ok += 1
            return service(request, record)
        if not falls_under(config.filter_enforced, dice):
            self._counts.unenforced += 1
            return service(request, record)
        self._counts.limited += 1
        record.details = "local_rate_limited"
        return local_reply(
            request,
            record,
            Cause.RATE_LIMITED,
            self._status,
            LIMITED,
            grpc_status=RESOURCE_EXHAUSTED if config.rate_limited_as_resource_exhausted else None,
            headers=(X_ENVOY_RATELIMITED, ("retry-after", str(max(1, bucket.reset)))),
        )


def _told(bucket: Bucket) -> Headers:
    return (
        ("x-ratelimit-limit", str(bucket.max_tokens)),
        ("x-ratelimit-remaining", str(bucket.remaining)),
        ("x-ratelimit-reset", str(bucket.reset)),
    )


def local_rate_limit(config: LocalRateLimit, site: Site) -> Filter | None:
    tokens = config.token_bucket
    if tokens is None or not config.filter_enabled.share:
        return None
    return LocalRateLimiter(config, tokens, site)


FACTORIES[LocalRateLimit] = local_rate_limit
