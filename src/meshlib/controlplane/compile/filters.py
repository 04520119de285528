"""Faults and CORS of a rule → filters of listeners, and what routes say to them."""

from collections.abc import Iterable

from ... import model
from ..manifests.http_policies import GRPC_STATUSES, CorsPolicy, HTTPFaultInjection, Percentage
from ..manifests.virtual_service import HTTPRoute
from .matches import string_matcher

KNOWN = (model.FAULT, model.CORS)  # Istio's order


def overrides_of(route: HTTPRoute) -> model.Overrides:
    """``typed_per_filter_config`` of a route."""
    made = []
    if route.cors_policy is not None:
        made.append(model.FilterOverride(name=model.CORS.name, config=cors(route.cors_policy)))
    if route.fault is not None:
        made.append(model.FilterOverride(name=model.FAULT.name, config=fault(route.fault)))
    return tuple(made)


def filters_for(host: model.VirtualHost) -> tuple[model.HttpFilter, ...]:
    """The filters that the routes of a host speak to, and the router."""
    named = {override.name for route in host.routes for override in route.overrides}
    return (*(one for one in KNOWN if one.name in named), model.ROUTER)


def percentage(per_cent: float) -> model.Percentage:
    """Istio counts in millionths; whole per cents stay readable."""
    if per_cent == int(per_cent):
        return model.Percentage(numerator=int(per_cent))
    return model.Percentage(numerator=round(per_cent * 10_000), denominator=1_000_000)


def fault(said: HTTPFaultInjection) -> model.Fault:
    """Unset percentages are 0, as in Istio."""
    delay = abort = None
    if said.delay is not None:
        share = percentage(said.delay.per_cent)
        delay = model.FaultDelay(fixed_delay=said.delay.fixed_delay, percentage=share)
    if said.abort is not None:
        asked = said.abort.percentage or Percentage()
        abort = model.FaultAbort(
            http_status=said.abort.http_status,
            grpc_status=GRPC_STATUSES.get(said.abort.grpc_status),
            percentage=percentage(asked.value),
        )
    return model.Fault(delay=delay, abort=abort)


def cors(said: CorsPolicy) -> model.Cors:
    origins: Iterable[model.StringMatcher] = (model.Exact(origin) for origin in said.allow_origin)
    if said.allow_origins:
        origins = (string_matcher(origin) for origin in said.allow_origins)
    return model.Cors(
        allow_origins=tuple(origins),
        allow_methods=",".join(said.allow_methods),
        allow_headers=",".join(said.allow_headers),
        expose_headers=",".join(said.expose_headers),
        max_age="" if said.max_age is None else str(int(said.max_age)),
        allow_credentials=said.allow_credentials,
        forward_not_matching_preflights=said.unmatched_preflights != "IGNORE",
    )
