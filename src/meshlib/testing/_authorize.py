"""A verdict of access without a call: whom a workload's policies let in, and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..dataplane import Connection, Deliver, Engine, Failure, Options, Peer, Request, Serve, Steps
from ..dataplane.filters.rbac_rules import Judge
from ..dataplane.inbound import LISTENER
from ..dataplane.peer_mode import STRICT, said_of_port
from ..dataplane.steps import AskAuthorization, AuthorizationVerdict
from ..model import Listener, Snapshot
from ..model.authn import JwtAuthn
from ..model.rbac import Rbac, RbacAction, RbacRules
from ..xds.regex import finditer, fullmatch
from ._decide import Config, Source, metadata_of, snapshot_of
from .clock import FakeClock
from .dice import always

JWT = "envoy.filters.http.jwt_authn"
MATCHED = "rbac_access_denied_matched_policy["
STRANGER = Connection(refusal="a verified certificate is required")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``rule``: the place (``file:line:col``) or name of the policy that decided, "" if none did.

    ``status`` and ``reason`` are what a caller of HTTP who is not let in is told.
    """

    allowed: bool
    rule: str = ""
    status: int = 200
    reason: str = ""

    def __bool__(self) -> bool:
        return self.allowed


def authorize(  # noqa: PLR0913 - all that policies may ask for
    config: Config,
    *,
    service: Source,
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    host: str = "",
    peer: Peer | str | None = None,
    claims: Mapping[str, Any] | None = None,
    source_address: str = "127.0.0.1:40000",
    port: int | None = None,
    is_grpc: bool = False,
    asked: bool | None = None,
) -> Verdict:
    """Judge a call to a server by Istio manifests, or by xDS resources in proto-JSON.

    ``service`` is whose server: ``"reviews"``, ``"reviews.prod"``, or its labels as in
    :func:`decide`. ``peer`` is who calls: a principal, with ``spiffe://`` or without; ``None``
    calls in plain text. ``claims`` are those of a verified token. ``port`` is that at which the
    server is called, ``None`` where it cannot tell; of a gRPC server the address stays unknown.
    ``asked`` is the answer of whoever CUSTOM policies ask, ``None`` that nobody answers. Of xDS
    resources the listener ``inbound`` counts, or else the only one.

    Raises :class:`meshlib.ConfigError` for a configuration that would be refused.
    """
    listener = _listener(snapshot_of(config, service), is_verified=claims is not None)
    name = host or (service.partition(".")[0] if isinstance(service, str) else "localhost")
    request = Request(
        name.lower(),
        "POST" if is_grpc else method,
        path,
        name,
        headers=tuple((key.lower(), value) for key, value in (headers or {}).items()),
        is_grpc=is_grpc,
        source=source_address,
        dynamic_metadata=None if claims is None else metadata_of({JWT: {"payload": claims}}),
        connection=_connection(listener, peer, port, is_grpc=is_grpc),
    )
    engine = Engine(
        clock=FakeClock(),
        dice=always(0.0),
        options=Options(complete=True, regex=fullmatch, finditer=finditer),
    )
    engine.apply(_alone(snapshot_of(config, service), listener))
    return _verdict(engine.inbound(request), listener, asked)


def _listener(snapshot: Snapshot, *, is_verified: bool) -> Listener | None:
    found = snapshot.listeners
    one = found.get(LISTENER) or (next(iter(found.values())) if len(found) == 1 else None)
    if one is None or not is_verified:
        return one
    # What it would find out of a token is given already.
    filters = tuple(f for f in one.http.http_filters if not isinstance(f.config, JwtAuthn))
    return replace(one, http=replace(one.http, http_filters=filters))


def _alone(snapshot: Snapshot, listener: Listener | None) -> Snapshot:
    if listener is None:
        return snapshot
    inbound = replace(listener, name=LISTENER)
    return replace(snapshot, listeners={**snapshot.listeners, LISTENER: inbound})


def _connection(
    listener: Listener | None, peer: Peer | str | None, port: int | None, *, is_grpc: bool
) -> Connection:
    if peer is None and listener is not None and _is_strict(listener, port):
        return STRANGER
    # Of a gRPC server that listens at all its addresses only the port is known.
    here = "" if port is None else f":{port}" if is_grpc else f"127.0.0.1:{port}"
    if isinstance(peer, str):
        uri = f"spiffe://{peer.removeprefix('spiffe://')}"
        peer = Peer(secure=True, spiffe_id=uri, uri_sans=(uri,))
    return Connection(peer=peer or Peer(), local_address=here)


def _is_strict(listener: Listener, port: int | None) -> bool:
    """A port that is not known is as strict as the policies say."""
    strict = listener.tls is not None and not listener.plaintext
    return strict or said_of_port(listener, port) == STRICT


def _verdict(steps: Steps[Any], listener: Listener | None, asked: bool | None) -> Verdict:
    rules = [] if listener is None else list(_rules(listener))
    effect = next(steps)
    while isinstance(effect, AskAuthorization):
        status = 200 if asked else 403
        effect = steps.send(AuthorizationVerdict(ok=asked, status=status, detail="not asked"))
    if isinstance(effect, Serve):
        return Verdict(allowed=True, rule=_allowing(rules, effect.request))
    assert isinstance(effect, Deliver), effect
    outcome, record = effect.outcome, effect.record
    _, _, policy = record.details.partition(MATCHED)
    rule = _place(rules, policy.removesuffix("]"))
    if isinstance(outcome, Failure):
        return Verdict(allowed=False, rule=rule, status=403, reason=outcome.detail)
    reason = outcome.body.decode("utf-8", "replace")
    return Verdict(allowed=False, rule=rule, status=outcome.status, reason=reason)


def _rules(listener: Listener) -> Iterator[RbacRules]:
    for one in listener.http.http_filters:
        if isinstance(one.config, Rbac) and one.config.rules is not None:
            yield one.config.rules


def _allowing(rules: list[RbacRules], request: Request) -> str:
    """The last word is that of what allows."""
    for each in reversed(rules):
        if each.action is RbacAction.ALLOW:
            return _place([each], Judge(each, fullmatch).policy(request) or "")
    return ""


def _place(rules: list[RbacRules], name: str) -> str:
    """Where it was written, as far as that is known; in a log names are in one word."""
    known = {"_".join(policy.name.split()): policy for each in rules for policy in each.policies}
    policy = known.get("_".join(name.split()))
    return "" if policy is None else policy.source or policy.name
