"""Values that stand in for those of a configuration (``envoy.service.runtime.v3``)."""

from dataclasses import dataclass

from .filter import Percentage

RuntimeValue = float | bool | str | Percentage


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeLayer:
    """``values`` by key, sorted; keys of structures are joined by dots."""

    name: str
    values: tuple[tuple[str, RuntimeValue], ...] = ()

    def shares(self) -> dict[str, float]:
        """What the layer says of fractions, of 1: a whole number means per cent, as Envoy has it.

        What is no fraction says nothing of one.
        """
        found: dict[str, float] = {}
        for key, value in self.values:
            if isinstance(value, Percentage):
                found[key] = value.share
            elif isinstance(value, float) and value >= 0 and value.is_integer():
                found[key] = min(1.0, value / 100)
        return found
