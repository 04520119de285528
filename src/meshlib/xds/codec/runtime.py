"""Values that Envoy's runtime may override ⇄ the values themselves.

Their keys, which the protos ask for, are skipped: of the runtime only the fractions of routes are
looked up, so what stands in these messages always counts.
"""

from math import isfinite

from ...model import Percentage
from .matcher import decode_fraction, encode_fraction
from .wire import Fields, Reader, wrapped

KEY = "meshlib."


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
    runtime.skip("runtime_key")
    if not runtime.has("default_value"):
        runtime.problem("must be set", "default_value")
    return decode_percentage(runtime, "default_value", default)


def encode_double(value: float, field: str) -> Fields:
    """A ``RuntimeDouble``."""
    return {"default_value": value, "runtime_key": KEY + field}


def decode_double(holder: Reader, field: str, default: float, *, positive: bool = False) -> float:
    runtime = holder.optional_child(field)
    if runtime is None:
        return default
    runtime.skip("runtime_key")
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
    runtime.skip("runtime_key")
    value = runtime.percent("default_value", default)
    return default if value is None else value


def encode_number(value: int, field: str) -> Fields:
    """A ``RuntimeUInt32``."""
    return {"default_value": value, "runtime_key": KEY + field}


def decode_number(holder: Reader, field: str) -> int:
    runtime = holder.child(field)
    runtime.skip("runtime_key")
    return runtime.number("default_value")


def encode_flag(*, value: bool, field: str) -> Fields:
    """A ``RuntimeFeatureFlag``."""
    return {"default_value": wrapped(value), "runtime_key": KEY + field}


def decode_flag(holder: Reader, field: str) -> bool:
    """Unset is "on"."""
    runtime = holder.child(field)
    runtime.skip("runtime_key")
    return runtime.flag("default_value", True)
