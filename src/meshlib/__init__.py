"""meshlib: an embeddable, proxyless service mesh for Python."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dataplane.upstream.half_open import Breaker
    from .errors import CallError, CallReport, ConfigError, MeshError
    from .mesh import Mesh, explain
    from .middleware._allow import allow
    from .middleware._override import override
    from .middleware._peer import peer
    from .middleware.decorators import fault, rate_limit

__version__ = "0.1.0"

__all__ = [
    "Breaker",
    "CallError",
    "CallReport",
    "ConfigError",
    "Mesh",
    "MeshError",
    "__version__",
    "allow",
    "explain",
    "fault",
    "override",
    "peer",
    "rate_limit",
]

_HOMES = {
    "Mesh": "mesh",
    "explain": "mesh",
    "CallError": "errors",
    "CallReport": "errors",
    "ConfigError": "errors",
    "MeshError": "errors",
    "Breaker": "dataplane.upstream.half_open",
    "allow": "middleware._allow",
    "override": "middleware._override",
    "peer": "middleware._peer",
    "fault": "middleware.decorators",
    "rate_limit": "middleware.decorators",
}


def __getattr__(name: str) -> Any:
    """Load the rooms when they are first entered: importing meshlib must cost next to nothing."""
    from importlib import import_module

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value
