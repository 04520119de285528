"""What our data plane makes of a request that is let in or not: the very engine."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...dataplane import (
    Connection,
    Deliver,
    Engine,
    Failure,
    Headers,
    Options,
    Peer,
    Request,
)
from ...model import (
    DirectResponseAction,
    Exact,
    FilterOverride,
    HeaderMatcher,
    HeaderMutations,
    HeaderValueOption,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    Metadata,
    PathPrefix,
    Route,
    RouteConfiguration,
    RouteMatch,
    Struct,
    VirtualHost,
    gather,
)
from ...model.filter import ROUTER
from ...model.rbac import Rbac
from ...xds.regex import finditer, fullmatch
from ..clock import FakeClock
from ..dice import always
from .access import NAMES, PORT, TOLD, AccessCase
from .case import Sent

CASE = "x-case"
FILTER = "envoy.filters.http.rbac"
_FOUND = ("shadow_engine_result", "shadow_effective_policy_id")
_TELL = {f"{FILTER}:{prefix}{key}" for prefix in ("", "dry_run_") for key in _FOUND}
TELLING = {
    f"x-told-{number}": f"%DYNAMIC_METADATA({key})%"
    for number, key in enumerate(sorted({*_TELL, "envoy.common:access_log_hint"}))
}
"""Response headers that tell what the filter noted of a request that it let pass."""

LET_IN = 200


@dataclass(frozen=True, slots=True)
class Judgement:
    """``details`` why a request was not let in; ``told`` what was noted of one that was."""

    status: int
    details: str = ""
    told: Headers = ()


def access_listener(cases: Sequence[AccessCase]) -> Listener:
    """A route for each case, found by a header."""
    headers = HeaderMutations(
        response_headers_to_add=tuple(
            HeaderValueOption(name=name, value=value) for name, value in TELLING.items()
        )
    )
    routes = tuple(
        Route(
            name=str(number),
            match=RouteMatch(
                path=PathPrefix("/"), headers=(HeaderMatcher(name=CASE, match=Exact(str(number))),)
            ),
            action=DirectResponseAction(status=LET_IN),
            headers=headers,
            overrides=(FilterOverride(name=FILTER, config=case.rbac),),
        )
        for number, case in enumerate(cases)
    )
    host = VirtualHost(name="all", domains=("*",), routes=routes)
    return Listener(
        name="inbound",
        http=HttpConnectionManager(
            routes=RouteConfiguration(name="cases", virtual_hosts=(host,)),
            http_filters=(HttpFilter(name=FILTER, config=Rbac()), ROUTER),
        ),
    )


def access_engine(cases: Sequence[AccessCase]) -> Engine:
    options = Options(complete=True, regex=fullmatch, finditer=finditer)
    made = Engine(clock=FakeClock(), dice=always(0.0), options=options)
    made.apply(gather(listeners=[access_listener(cases)]))
    return made


def access_judged(engine: Engine, number: int, case: AccessCase, sent: Sent) -> Judgement:
    effect = next(engine.inbound(access_request(number, case, sent)))
    assert isinstance(effect, Deliver)
    outcome, record = effect.outcome, effect.record
    assert not isinstance(outcome, Failure)
    headers = outcome.headers if record.respond is None else record.respond(outcome.headers)
    told = tuple(sorted(pair for pair in headers if pair[0] in TELLING))
    details = "" if outcome.status == LET_IN else record.details
    return Judgement(outcome.status, details, told)


def access_request(number: int, case: AccessCase, sent: Sent) -> Request:
    caller = case.caller
    uris, names, common = NAMES.get(caller.certificate, ((), (), ""))
    peer = Peer(
        secure=bool(caller.certificate),
        uri_sans=uris,
        dns_sans=names,
        subject=f"CN={common}" if common else "",
    )
    return Request(
        sent.authority.lower(),
        sent.method,
        sent.path,
        sent.authority,
        scheme="https" if caller.certificate else "http",
        headers=(*sent.headers, (CASE, str(number))),
        source=f"{caller.source}:40000",
        dynamic_metadata=_noted(dict(sent.headers)),
        connection=Connection(
            peer=peer,
            local_address=f"{caller.destination}:{PORT}",
            server_name=caller.server_name,
        ),
    )


def _noted(headers: dict[str, str]) -> Metadata | None:
    """What a filter of Envoy's makes of two headers."""
    fields: list[tuple[str, str | float]] = []
    if "x-number" in headers and headers["x-number"] != "x":
        fields.append(("number", float(headers["x-number"])))
    if "x-text" in headers:
        fields.append(("text", headers["x-text"]))
    return Metadata(((TOLD, Struct(tuple(fields))),)) if fields else None
