"""One rule of a VirtualService by itself: what of it has no effect, or not the one it seems."""

from collections.abc import Iterator

from ...model import RETRY_CONDITIONS
from ..compile.actions import mirrors_of
from ..manifests.finding import NOT_ACTED_ON, Finding, Severity
from ..manifests.manifest import Manifest
from ..manifests.marks import Path
from ..manifests.retry_on import conditions_and_statuses
from ..manifests.virtual_service import Headers, HTTPRoute, VirtualService

Remark = tuple[Severity, Path, str]


def check(manifest: Manifest[VirtualService], index: int, route: HTTPRoute) -> Iterator[Finding]:
    for look in (_matches, _faults, _mirrors, _retries):
        for severity, path, said in look(route):
            place = manifest.place_of("http", index, *path)
            yield Finding(NOT_ACTED_ON, severity, place, str(manifest), said)


def check_for_grpc(
    manifest: Manifest[VirtualService], index: int, route: HTTPRoute
) -> Iterator[Finding]:
    """Of a host that speaks nothing but gRPC."""
    said: list[tuple[Path, str]] = []
    if route.cors_policy is not None:
        said.append((("corsPolicy",), "corsPolicy has no effect on gRPC"))
    for number, match in enumerate(route.match):
        if match.query_params:
            text = "calls of gRPC have no query: this never matches"
            said.append((("match", number, "queryParams"), text))
    said += [(path, "metadata of gRPC is ASCII: it is left out") for path in _beyond_ascii(route)]
    for path, text in said:
        place = manifest.place_of("http", index, *path)
        yield Finding(NOT_ACTED_ON, "info", place, str(manifest), text)


def _beyond_ascii(route: HTTPRoute) -> Iterator[Path]:
    levels: list[tuple[Path, Headers]] = [(("headers",), route.headers or Headers())]
    levels += [(("route", at, "headers"), choice.headers) for at, choice in enumerate(route.route)]
    for path, headers in levels:
        for field, values in (("set", headers.request.set), ("add", headers.request.add)):
            for name, value in values.items():
                if not value.isascii():
                    yield (*path, "request", field, name)


def _matches(route: HTTPRoute) -> Iterator[Remark]:
    for number, match in enumerate(route.match):
        if match.ignore_uri_case and (match.uri is None or match.uri.regex is not None):
            said = "ignoreUriCase has an effect on exact and prefix only"
            yield "info", ("match", number, "ignoreUriCase"), said
        if match.stat_prefix:
            said = "statPrefix is served to other clients; meshlib's own count by route"
            yield "info", ("match", number, "statPrefix"), said


def _faults(route: HTTPRoute) -> Iterator[Remark]:
    if route.fault is None:
        return
    delay, abort = route.fault.delay, route.fault.abort
    if delay is not None and not delay.per_cent:
        yield "warning", ("fault", "delay"), "without a percentage nothing is delayed"
    if abort is not None and (abort.percentage is None or not abort.percentage.value):
        yield "warning", ("fault", "abort"), "without a percentage nothing is aborted"
    if delay is not None and delay.percentage is not None and delay.percent:
        yield "info", ("fault", "delay", "percent"), "percent has no effect beside percentage"


def _mirrors(route: HTTPRoute) -> Iterator[Remark]:
    for number, (_, per_cent) in enumerate(mirrors_of(route)):
        if not per_cent:
            path: Path = ("mirrors", number) if route.mirrors else ("mirror",)
            yield "info", path, "gets 0 % of the requests: nothing is mirrored"
    if route.mirror_percentage is not None and route.mirror_percent is not None:
        yield "info", ("mirrorPercent",), "mirrorPercent has no effect beside mirrorPercentage"


def _retries(route: HTTPRoute) -> Iterator[Remark]:
    retries = route.retries
    if retries is None:
        return
    if retries.attempts is None:
        said = "attempts is missing, which means 0: nothing is retried"
        yield "warning", ("retries",), said
    conditions, statuses = conditions_and_statuses(retries.retry_on)
    for word in sorted(set(conditions) - RETRY_CONDITIONS):
        said = f"{word} is served to other clients; meshlib's own never retry on it"
        yield "info", ("retries", "retryOn"), said
    if "retriable-status-codes" in conditions and not statuses:
        said = "retriable-status-codes needs statuses beside it, such as 503"
        yield "warning", ("retries", "retryOn"), said
    if "retriable-headers" in conditions:
        said = "retriable-headers has no effect: Istio cannot say which headers"
        yield "info", ("retries", "retryOn"), said
    limit = retries.per_try_timeout
    if limit and route.timeout and limit >= route.timeout:
        said = "perTryTimeout has no effect: timeout is not longer"
        yield "warning", ("retries", "perTryTimeout"), said
