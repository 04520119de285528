"""``Runtime`` ⇄ :class:`RuntimeLayer`."""

from collections.abc import Iterator
from typing import Any

from ...model import Percentage
from ...model.runtime import RuntimeLayer, RuntimeValue
from .wire import Fields, Reader

DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
WORDS = {number: word for word, number in DENOMINATORS.items()}
DEEPEST = 32


def encode_runtime_layer(layer: RuntimeLayer) -> Fields:
    return {"name": layer.name, "layer": {key: _encode(value) for key, value in layer.values}}


def _encode(value: RuntimeValue) -> Any:
    if isinstance(value, Percentage):
        return {"numerator": value.numerator, "denominator": WORDS[value.denominator]}
    return value


def decode_runtime_layer(reader: Reader) -> RuntimeLayer:
    name, layer = reader.text("name", required=True), reader.taken("layer")
    found = {} if layer is None else dict(_flat(reader, "", layer, DEEPEST))
    return RuntimeLayer(name=name, values=tuple(sorted(found.items(), key=lambda item: item[0])))


def _flat(reader: Reader, above: str, layer: Any, depth: int) -> Iterator[tuple[str, RuntimeValue]]:
    if not depth:
        reader.problem(f"{above}: nested too deeply", "layer")
        return
    for name in sorted(layer.fields):
        key, value = f"{above}{name}", layer.fields[name]
        match value.WhichOneof("kind"):
            case "number_value" | "bool_value" | "string_value" as kind:
                yield key, getattr(value, kind)
            case "struct_value" if (fraction := _fraction(value.struct_value)) is not None:
                yield key, fraction
            case "struct_value":
                yield from _flat(reader, f"{key}.", value.struct_value, depth - 1)
            case _:
                reader.drop(f"layer[{key}]")


def _fraction(layer: Any) -> Percentage | None:
    """A ``FractionalPercent`` in the place of a value."""
    if not layer.fields or not layer.fields.keys() <= {"numerator", "denominator"}:
        return None
    numerator = layer.fields["numerator"].number_value if "numerator" in layer.fields else 0.0
    denominator = 100
    if "denominator" in layer.fields:
        denominator = DENOMINATORS.get(layer.fields["denominator"].string_value, 0)
    if not denominator or not numerator.is_integer() or numerator < 0:
        return None
    return Percentage(numerator=int(numerator), denominator=denominator)
