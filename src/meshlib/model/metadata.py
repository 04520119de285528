"""Opaque facts that ride along with a resource (``envoy.config.core.v3.Metadata``)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Struct:
    """A ``google.protobuf.Struct`` as a hashable value; fields sorted by name."""

    fields: tuple[tuple[str, "Value"], ...] = ()

    def get(self, name: str) -> "Value":
        return next((value for key, value in self.fields if key == name), None)


Value = bool | float | str | tuple["Value", ...] | Struct | None
"""One JSON value; numbers are doubles, as in protobuf."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """``filter_metadata``: per filter name (reverse DNS) one struct; sorted by name."""

    filter_metadata: tuple[tuple[str, Struct], ...] = ()

    def get(self, filter_name: str, key: str) -> Value:
        found = next((s for name, s in self.filter_metadata if name == filter_name), None)
        return found.get(key) if found is not None else None

    @property
    def source(self) -> str:
        """``file:line`` of the rule that this was compiled from, or ""."""
        value = self.get(SOURCE_FILTER, "source")
        return value if isinstance(value, str) else ""


SOURCE_FILTER = "meshlib"


def sourced(place: object) -> Metadata:
    """Metadata that says which line of which file a resource comes from."""
    return Metadata(((SOURCE_FILTER, Struct((("source", str(place)),))),))


def noted(metadata: Metadata, key: str, value: Value) -> Metadata:
    """The same, and something that only meshlib reads."""
    filters = dict(metadata.filter_metadata)
    fields = dict(filters.get(SOURCE_FILTER, Struct()).fields) | {key: value}
    filters[SOURCE_FILTER] = Struct(tuple(sorted(fields.items(), key=lambda field: field[0])))
    return Metadata(tuple(sorted(filters.items(), key=lambda one: one[0])))
