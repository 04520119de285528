"""Values that Envoy's runtime may override ⇄ the values themselves.

Of the runtime only the fractions of routes are looked up, so what stands in these messages always
counts, and keys of them are told as ignored.
"""

from math import isfinite

from ...model import Percentage
from .matcher import decode_fraction, encode_fraction
from .wire import Fields, Reader, wrapped

KEY = "meshlib."
"""How the keys begin that we write ourselves, where the protos ask for some: nobody sets them."""


def encode_percentage(percentage: Percentage) -> Fields:
    """An ``envoy.type.v3.FractionalPercent``."""
    return encode_fraction(percentage.numerator, percentage.denominator)


def decode_percentage(holder: Reader, field: str, default: Percentage) -> Percentage:
    fraction = holder.optional_child(field)
    if fraction is None:
        return default
    numerator, denominator = decode_fraction(fraction)
    return Percentage(numerator=numerator, denominator=denominator)


def encode_runtime_percentage(percentage: Percentage) -> Fields:
    """A ``RuntimeFractionalPercent``."""
    return {"default_value": encode_percentage(percentage)}


def decode_runtime_percentage(holder: Reader, field: str, default: Percentage) -> Percentage:
    runtime = holder.optional_child(field)
    if runtime is None:
        return default
    _skip_own_key(runtime)
    if not runtime.has("default_value"):
        runtime.problem("must be set", "default_value")
    return decode_percentage(runtime, "default_value", default)


def _skip_own_key(runtime: Reader) -> None:
    if runtime.message.runtime_key.startswith(KEY):
        runtime.skip("runtime_key")


def encode_double(value: float, field: str) -> Fields:
    """A ``RuntimeDouble``."""
    return {"default_value": value, "runtime_key": KEY + field}


def decode_double(holder: Reader, field: str, default: float, *, positive: bool = False) -> float:
    runtime = holder.optional_child(field)
    if runtime is None:
        return default
    _skip_own_key(runtime)
    value = runtime.real("default_value")
    if not isfinite(value) or value < 0 or (positive and not value):
        runtime.problem(f"must be {'above' if positive else 'at least'} 0, is {value}")
        return default
    return value


def encode_percent(value: float, field: str) -> Fields:
    """A ``RuntimePercent``."""
    return {"default_value": wrapped(value), "runtime_key": KEY + field}


def decode_percent(holder: Reader, field: str, default: float) -> float:
    runtime = holder.child(field)
    _skip_own_key(runtime)
    value = runtime.percent("default_value", default)
    return default if value is None else value


def encode_number(value: int, field: str) -> Fields:
    """A ``RuntimeUInt32``."""
    return {"default_value": value, "runtime_key": KEY + field}


def decode_number(holder: Reader, field: str) -> int:
    runtime = holder.child(field)
    _skip_own_key(runtime)
    return runtime.number("default_value")


def encode_flag(*, value: bool, field: str) -> Fields:
    """A ``RuntimeFeatureFlag``."""
    return {"default_value": wrapped(value), "runtime_key": KEY + field}


def decode_flag(holder: Reader, field: str) -> bool:
    """Unset is "on"."""
    runtime = holder.child(field)
    _skip_own_key(runtime)
    return runtime.flag("default_value", True)
