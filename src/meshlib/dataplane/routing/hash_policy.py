"""The hash by which a ring or a table chooses: the route's policies, combined as Envoy does."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ...model import (
    HashCookie,
    HashFilterState,
    HashHeader,
    HashPolicy,
    HashQueryParameter,
    HashSourceIp,
)
from ..message import Headers, Request
from .formatting import caller_address
from .hashing import xx_hash_64
from .matchers import query_parameter
from .parts import Parts
from .regex_rewrite import replacing

if TYPE_CHECKING:
    from ..events import CallRecord

CHANNEL_ID = "io.grpc.channel_id"
BITS = 64
MASK = (1 << BITS) - 1

Hash = Callable[[Request, "CallRecord | None"], int | None]
"""``None``: the policy has nothing to say of this request."""


class HashPolicies:
    __slots__ = ("_policies",)

    def __init__(self, policies: Sequence[HashPolicy], table: str, parts: Parts) -> None:
        self._policies = tuple((_hash(each, table, parts), each.terminal) for each in policies)

    def __call__(self, request: Request, record: "CallRecord | None" = None) -> int | None:
        """Turned by one bit between policies, so that two alike do not cancel each other out."""
        found: int | None = None
        for policy, terminal in self._policies:
            value = policy(request, record)
            if value is not None:
                found = value if found is None else _turned(found) ^ value
            if terminal and found is not None:
                break
        return found


def _turned(number: int) -> int:
    return ((number << 1) | (number >> (BITS - 1))) & MASK


def _hash(policy: HashPolicy, table: str, parts: Parts) -> Hash:
    match policy:
        case HashHeader():
            return _header(policy, parts)
        case HashCookie():
            return partial(_cookie, policy, parts)
        case HashSourceIp():
            return partial(_source, parts.whereabouts.hostname or parts.service)
        case HashQueryParameter(name=name):
            return lambda request, _: _of(query_parameter(request.path, name))
        case HashFilterState(key=key):
            seed = parts.kept.get((table, CHANNEL_ID), lambda: _rolled(parts))
            return lambda _request, _record: seed if key == CHANNEL_ID else None


def _of(text: str | None) -> int | None:
    return None if text is None else xx_hash_64(text)


def _header(policy: HashHeader, parts: Parts) -> Hash:
    name = policy.header_name.lower()
    rewrite = policy.regex_rewrite
    changed = replacing(rewrite, parts.finditer) if rewrite is not None else str

    def hashed(request: Request, _record: object) -> int | None:
        if request.is_grpc:  # gRFC A42
            value = None if name.endswith("-bin") else request.header(name)
            return None if value is None else xx_hash_64(changed(value))
        values = [value for key, value in request.headers if key == name]
        if not values and name[:1] == ":":
            values = [value for value in (request.header(name),) if value is not None]
        found = None
        for value in sorted(map(changed, values)):
            found = xx_hash_64(value, found or 0)
        return found

    return hashed


def _source(own: str, request: Request, _record: object) -> int | None:
    """A call of this very process comes from where this process is."""
    return _of(caller_address(request) or own or None)


def _cookie(
    policy: HashCookie, parts: Parts, request: Request, record: "CallRecord | None"
) -> int | None:
    value = cookie(request.headers, policy.name)
    if value:
        return _of(value)
    if policy.ttl is None:
        return None
    made = f"{_rolled(parts):016x}"
    if record is not None:
        line = _set_cookie(policy, made)
        record.responds(lambda headers: (*headers, ("set-cookie", line)))
    return _of(made)


def _rolled(parts: Parts) -> int:
    return int(parts.dice() * (1 << BITS)) & MASK


def cookie(headers: Headers, name: str) -> str:
    """The value of a cookie of the request, without quotes; "" where it is missing."""
    for key, line in headers:
        if key != "cookie":
            continue
        for pair in line.split(";"):
            found, _, value = pair.strip(" ").partition("=")
            if found == name:
                return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return ""


def _set_cookie(policy: HashCookie, value: str) -> str:
    parts = [f'{policy.name}="{value}"']
    if policy.ttl:
        parts.append(f"Max-Age={int(policy.ttl)}")
    if policy.path:
        parts.append(f"Path={policy.path}")
    parts += [f"{name}={text}" if text else name for name, text in policy.attributes]
    return "; ".join((*parts, "HttpOnly"))
