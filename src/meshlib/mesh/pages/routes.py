"""``/routes?explain=GET http://reviews:9080/1``: what would become of a call, which is not made."""

from collections.abc import Iterator

from ...dataplane import Decision, Request, decide
from ..explained import facts_of, rules_of
from ..questions import request_for
from .answers import Asked, RefusedError, in_json
from .member import Member

LONGEST = 8192
"""Characters of a URL; what is longer no server would take."""
EXAMPLE = "/routes?explain=GET+http://reviews:9080/1&header=end-user:jason"


def json(member: Member, asked: Asked) -> Iterator[str]:
    return in_json(_decided(member, _request(asked)).to_dict())


def text(member: Member, asked: Asked) -> Iterator[str]:
    request = _request(asked)
    return _told(member, request, _decided(member, request))


def _told(member: Member, request: Request, decision: Decision) -> Iterator[str]:
    for number, source, rule, outcome in rules_of(decision):
        yield f"{number:<4}{source}  {rule}  {outcome}"
    for name, fact in facts_of(decision, member.engine.snapshot, request):
        yield f"{name:<12}{fact}"


def _decided(member: Member, request: Request) -> Decision:
    """Unlike a call, and :meth:`Mesh.route`, it asks no control plane for what is not known."""
    with member.runtime.lock:
        return decide(member.engine, request)


def _request(asked: Asked) -> Request:
    """Raises :class:`RefusedError`."""
    method, _, url = asked.last("explain", "").strip().partition(" ")
    if not method or not url or len(url) > LONGEST:
        raise RefusedError(f"a method and a URL of a call are wanted, as in {EXAMPLE}")
    try:
        return request_for(method, url.strip(), _headers(asked))
    except ValueError as error:
        raise RefusedError(str(error)) from error


def _headers(asked: Asked) -> dict[str, str]:
    pairs = [one.partition(":") for one in asked.parameters.get("header", ())]
    for name, colon, _ in pairs:
        if not colon or not name.strip():
            raise RefusedError("a header is name:value")
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
