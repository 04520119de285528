"""HTTP statuses and ranges of them ⇄ numbers."""

from .wire import Fields, Reader

LEAST, AFTER = 100, 600
LEAST_ERROR = 400
Ranges = tuple[tuple[int, int], ...]


def encode_status(status: int) -> Fields:
    return {"code": status}


def decode_status(holder: Reader, field: str, default: int) -> int:
    """An ``envoy.type.v3.HttpStatus``: what is no error stands for the default, as in Envoy."""
    reader = holder.optional_child(field)
    if reader is None:
        return default
    status = reader.number("code", low=LEAST, high=AFTER - 1)
    return default if status < LEAST_ERROR else status


def encode_statuses(ranges: Ranges) -> list[Fields]:
    return [{"start": start, "end": end} for start, end in ranges]


def decode_statuses(holder: Reader, field: str) -> Ranges:
    """Half-open ranges."""
    found = []
    for reader in holder.children(field):
        start, end = reader.number("start"), reader.number("end")
        if not LEAST <= start < end <= AFTER:
            reader.problem(f"must be from {LEAST} to before {AFTER}, is [{start}, {end})")
        found.append((start, end))
    return tuple(found)
