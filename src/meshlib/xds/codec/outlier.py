"""``OutlierDetection`` ⇄ :class:`OutlierDetection`.

Which answers are errors stands elsewhere: the ``error_matcher`` of the HTTP options.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from ...model import OutlierDetection
from .wire import Fields, Reader, duration, wrapped

DEFAULT = OutlierDetection()
NUMBERS = tuple(field.name for field in fields(OutlierDetection) if type(field.default) is int)
WRAPPED_FLAGS = ("successful_active_health_check_uneject_host", "always_eject_one_host")
SECONDS = ("interval", "base_ejection_time", "max_ejection_time", "max_ejection_time_jitter")
STATUS = ":status"
STATUSES = range(100, 600)


def encode_outlier_detection(outlier: OutlierDetection | None) -> Fields | None:
    if outlier is None:
        return None
    return {
        **{name: duration(getattr(outlier, name)) for name in SECONDS},
        **{name: wrapped(getattr(outlier, name)) for name in (*NUMBERS, *WRAPPED_FLAGS)},
        "split_external_local_origin_errors": outlier.split_external_local_origin_errors,
    }


def decode_outlier_detection(
    cluster: Reader, error_statuses: tuple[int, ...]
) -> OutlierDetection | None:
    reader = cluster.optional_child("outlier_detection")
    if reader is None:
        return None
    base = reader.seconds("base_ejection_time", 30.0, positive=True)
    found: dict[str, Any] = {
        name: reader.number(name, getattr(DEFAULT, name), high=100 if _is_percent(name) else None)
        for name in NUMBERS
    }
    found |= {name: reader.flag(name, getattr(DEFAULT, name)) for name in WRAPPED_FLAGS}
    return OutlierDetection(
        interval=reader.seconds("interval", 10.0, positive=True),
        base_ejection_time=base,
        max_ejection_time=reader.seconds("max_ejection_time", max(300.0, base), positive=True),
        max_ejection_time_jitter=reader.seconds("max_ejection_time_jitter", 0.0),
        split_external_local_origin_errors=reader.flag("split_external_local_origin_errors"),
        error_statuses=error_statuses,
        **found,
    )


def _is_percent(name: str) -> bool:
    return name.startswith("enforcing_") or name in (
        "max_ejection_percent",
        "failure_percentage_threshold",
    )


def encode_error_matcher(statuses: tuple[int, ...]) -> Fields | None:
    """A ``MatchPredicate`` of response headers; a set of rules has at least two."""
    if not statuses:
        return None
    rules: list[Fields] = [
        {
            "http_response_headers_match": {
                "headers": [{"name": STATUS, "string_match": {"exact": str(status)}}]
            }
        }
        for status in statuses
    ]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}


def decode_error_matcher(options: Reader) -> tuple[int, ...]:
    """``()`` where it is not set, or asks for more than statuses: then it is told as ignored."""
    detection = options.optional_child("outlier_detection")
    if detection is None:
        return ()
    predicate = detection.child("error_matcher")
    statuses = tuple(dict.fromkeys(_statuses(predicate.message)))
    if not statuses or None in statuses:
        predicate.drop()
        return ()
    predicate.skip("or_match", "http_response_headers_match")
    return tuple(status for status in statuses if status is not None)


def _statuses(predicate: Any) -> Iterator[int | None]:
    match predicate.WhichOneof("rule"):
        case "or_match":
            for rule in predicate.or_match.rules:
                yield from _statuses(rule)
        case "http_response_headers_match":
            headers = predicate.http_response_headers_match.headers
            yield from _said_by(headers[0]) if len(headers) == 1 else (None,)
        case _:
            yield None


def _said_by(header: Any) -> Iterator[int | None]:
    kind = header.WhichOneof("header_match_specifier")
    if header.name != STATUS or header.invert_match:
        yield None
    elif kind == "range_match":
        limits = header.range_match
        yield from (status for status in STATUSES if limits.start <= status < limits.end)
    else:
        text = header.string_match.exact if kind == "string_match" else header.exact_match
        yield int(text) if text.isascii() and text.isdigit() and int(text) in STATUSES else None
