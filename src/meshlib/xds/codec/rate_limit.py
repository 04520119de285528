"""``envoy.config.route.v3.RateLimit``: what is told of a request ⇄ :class:`RateLimit`."""

from ...model import (
    DestinationCluster,
    GenericKey,
    HeaderValueMatch,
    QueryParameter,
    RateLimit,
    RateLimitAction,
    RemoteAddress,
    RequestHeader,
    SourceCluster,
)
from .matcher import decode_header, encode_header
from .wire import Fields, Reader, wrapped

MAX_STAGE = 10
KINDS = (
    "generic_key",
    "request_headers",
    "remote_address",
    "destination_cluster",
    "source_cluster",
    "header_value_match",
    "query_parameters",
)
RateLimits = tuple[RateLimit, ...]


def encode_rate_limits(limits: RateLimits) -> list[Fields]:
    return [
        {
            "stage": wrapped(limit.stage) if limit.stage else None,
            "actions": [_encode_action(action) for action in limit.actions],
        }
        for limit in limits
    ]


def decode_rate_limits(holder: Reader, *, in_filter: bool = False) -> RateLimits:
    """``in_filter``: those of a filter itself, which are all of its own stage."""
    highest = 0 if in_filter else MAX_STAGE
    found = (_decode_rate_limit(one, highest) for one in holder.children("rate_limits"))
    return tuple(limit for limit in found if limit is not None)


def _decode_rate_limit(reader: Reader, highest_stage: int) -> RateLimit | None:
    """``None`` where one of the actions is not known: half a descriptor is another descriptor."""
    stage = reader.number("stage", high=highest_stage)
    listed = reader.children("actions")
    if not listed:
        reader.problem("must not be empty", "actions")
    actions = [_decode_action(action) for action in listed]
    known = tuple(action for action in actions if action is not None)
    if len(known) < len(actions):
        reader.drop()
        return None
    return RateLimit(actions=known, stage=stage)


def _encode_action(action: RateLimitAction) -> Fields:
    match action:
        case GenericKey(descriptor_value=value, descriptor_key=key):
            return {"generic_key": {"descriptor_value": value, "descriptor_key": key}}
        case RequestHeader(header_name=name, descriptor_key=key, skip_if_absent=skip):
            header = {"header_name": name, "descriptor_key": key, "skip_if_absent": skip}
            return {"request_headers": header}
        case QueryParameter(query_parameter_name=name, descriptor_key=key, skip_if_absent=skip):
            query = {"query_parameter_name": name, "descriptor_key": key, "skip_if_absent": skip}
            return {"query_parameters": query}
        case HeaderValueMatch():
            matched = {
                "descriptor_key": action.descriptor_key,
                "descriptor_value": action.descriptor_value,
                "expect_match": wrapped(action.expect_match),
                "headers": [encode_header(header) for header in action.headers],
            }
            return {"header_value_match": matched}
        case RemoteAddress():
            return {"remote_address": {}}
        case DestinationCluster():
            return {"destination_cluster": {}}
        case SourceCluster():
            return {"source_cluster": {}}


def _decode_action(reader: Reader) -> RateLimitAction | None:
    kind = reader.which(*KINDS)
    if not kind:
        reader.drop()
        return None
    action = reader.child(kind)
    match kind:
        case "generic_key":
            return GenericKey(
                descriptor_value=action.text("descriptor_value", required=True),
                descriptor_key=action.text("descriptor_key") or "generic_key",
            )
        case "request_headers":
            return RequestHeader(
                header_name=action.text("header_name", required=True),
                descriptor_key=action.text("descriptor_key", required=True),
                skip_if_absent=action.flag("skip_if_absent"),
            )
        case "query_parameters":
            return QueryParameter(
                query_parameter_name=action.text("query_parameter_name", required=True),
                descriptor_key=action.text("descriptor_key", required=True),
                skip_if_absent=action.flag("skip_if_absent"),
            )
        case "header_value_match":
            return _decode_header_value_match(action)
        case "remote_address":
            return RemoteAddress()
        case "destination_cluster":
            return DestinationCluster()
        case _:
            return SourceCluster()


def _decode_header_value_match(action: Reader) -> HeaderValueMatch:
    headers = tuple(map(decode_header, action.children("headers")))
    if not headers:
        action.problem("must not be empty", "headers")
    return HeaderValueMatch(
        descriptor_value=action.text("descriptor_value", required=True),
        headers=headers,
        expect_match=action.flag("expect_match", True),
        descriptor_key=action.text("descriptor_key") or "header_match",
    )
