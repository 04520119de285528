"""Spans and baggage of OpenTelemetry as headers, in the forms that came in, and back."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from ..dataplane import Headers
from . import b3, census
from .propagation import PLACES
from .trace_headers import (
    BAGGAGE,
    RANDOM,
    SAMPLED,
    TRACEPARENT,
    TRACESTATE,
    Parent,
    read_traceparent,
    sound_baggage,
    write_traceparent,
)


class Forms(NamedTuple):
    """What a span is written as besides W3C's headers."""

    single: bool = False
    multi: bool = False
    binary: bool = False


W3C_ALONE = Forms()


def forms_of(headers: Headers, always: Forms) -> Forms:
    if not headers:
        return always
    names = {name for name, _ in headers}
    return Forms(
        always.single or b3.SINGLE in names,
        always.multi or not names.isdisjoint(b3.MULTI),
        census.NAME in names,
    )


def marks(span: SpanContext, forms: Forms) -> Headers:
    """``traceparent`` comes first. Ids that are none are not written: nobody could read them."""
    if not span.is_valid:
        return ()
    flags = int(span.trace_flags)
    said: Headers = ((TRACEPARENT, write_traceparent(span.trace_id, span.span_id, flags)),)
    if span.trace_state:
        said = (*said, (TRACESTATE, span.trace_state.to_header()))
    if forms == W3C_ALONE:
        return said
    sampled = bool(flags & TraceFlags.SAMPLED)
    if forms.single:
        said = (*said, *b3.write_single(span.trace_id, span.span_id, sampled=sampled))
    if forms.multi:
        said = (*said, *b3.write_multi(span.trace_id, span.span_id, sampled=sampled))
    if forms.binary:
        said = (*said, *census.write(span.trace_id, span.span_id, sampled=sampled))
    return said


def rewritten(headers: Headers, ours: Headers) -> Headers:
    return (*ours, *(pair for pair in headers if pair[0] not in PLACES))


def parent_of(headers: Headers) -> Parent | None:
    """In which span the caller was; of sound headers."""
    found = {pair[0]: pair[1] for pair in headers if pair[0] in PLACES}
    if not found:
        return None
    value = found.get(TRACEPARENT)
    if value is None:
        parent = b3.read(found)
        return (
            census.read(found[census.NAME]) if parent is None and census.NAME in found else parent
        )
    return read_traceparent(value, found.get(TRACESTATE, ""))


def span_of(parent: Parent, *, remote: bool = True) -> SpanContext:
    flags = TraceFlags((SAMPLED if parent.sampled else 0) | (RANDOM if parent.is_random else 0))
    state = TraceState.from_header([parent.tracestate]) if parent.tracestate else None
    return SpanContext(parent.trace_id, parent.span_id, remote, flags, state)


@lru_cache(256)
def entries_of(baggage: str) -> Mapping[str, str]:
    """The entries of sound baggage; what they say of themselves left out."""
    pairs = (entry.partition(";")[0].partition("=") for entry in baggage.split(",") if entry)
    return {key.strip(): unquote_plus(value.strip()) for key, _, value in pairs}


def with_baggage(received: Headers, told: Mapping[str, object], *, alone: bool) -> Headers:
    """``told`` is OpenTelemetry's; ``alone``: what is not among it was taken away."""
    came = next((value for name, value in received if name == BAGGAGE), "")
    known = entries_of(came) if came else {}
    meant = dict(told) if alone else {**known, **told}
    if meant == known:
        return received
    text = ",".join(f"{_quoted(key, TOKEN)}={_quoted(str(value))}" for key, value in meant.items())
    others = tuple(pair for pair in received if pair[0] != BAGGAGE)
    text = sound_baggage(text)
    return (*others, (BAGGAGE, text)) if text else others


def _quoted(text: str, safe: str = "/") -> str:
    return quote(text, safe, errors="replace")  # programs may have it from whoever called them


TOKEN = "!#$&'*+-.^_`|~"  # noqa: S105 - what a key may be made of, besides letters and digits
