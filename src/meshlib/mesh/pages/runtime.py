"""``/runtime``: what stands in for fractions, and which layer says so."""

from collections.abc import Iterator
from typing import Any

from .answers import Asked, in_json
from .member import Member


def json(member: Member, asked: Asked) -> Iterator[str]:
    """As Envoy has it, which has no message for it. Values are shares of 1."""
    layers = member.engine.snapshot.runtimes
    shares = {name: layer.shares() for name, layer in layers.items()}
    return in_json(
        {
            "layers": list(layers),
            "entries": {key: _entry(value, key, shares) for key, value in _final(member).items()},
        }
    )


def _entry(value: float, key: str, shares: dict[str, dict[str, float]]) -> dict[str, Any]:
    told = [str(share[key]) if key in share else "" for share in shares.values()]
    return {"final_value": str(value), "layer_values": told}


def text(member: Member, asked: Asked) -> Iterator[str]:
    for key, value in _final(member).items():
        yield f"{key}: {value}"


def _final(member: Member) -> dict[str, float]:
    with member.runtime.lock:
        return dict(sorted(member.engine.runtime.items()))
