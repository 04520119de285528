"""What an engine is given besides its configuration: who this member is, and what it may ask."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..clock import Clock
from ..model import Listener, Locality
from .filters.tokens import Tokens
from .routing.formatting import Whereabouts
from .routing.matchers import Regex
from .routing.regex_rewrite import Finditer, python_finditer

CONFIG_TIMEOUT = 15.0
"""Seconds that a call without deadline waits for the first configuration of its target."""

OnNoConfig = Literal["wait", "fail", "direct"]


def _nobody(listener: Listener) -> None:
    """Nobody is to be told of its calls."""


def python_regex(pattern: str) -> Callable[[str], object]:
    """The standard library's engine; floors above pass RE2's instead."""
    return re.compile(pattern).fullmatch


@dataclass(frozen=True, slots=True)
class Options:
    """``complete``: what the snapshot lacks does not exist (no control plane to ask).

    ``passthrough``: hosts that are not of the mesh are called as they would be without it
    (ALLOW_ANY); otherwise refused (REGISTRY_ONLY). ``service``: what this member is called;
    ``locality``: where it stands, for the balancing by zones. ``loop_lag``: by how many seconds
    the event loop of the call in hand is late (asked on its very thread), 0 where there is none.
    ``runtime``: keys of runtime fractions and what they say instead, in per cent. ``wall``: the
    time of day in seconds since 1970, for servers that name the moment of a second try.
    ``on_no_config``: what becomes of a call to a host that nothing is known of while nobody can be
    asked either: it waits, fails at once, or is made without the mesh. ``tokens``: who verifies
    callers' tokens; without one, none is believed. ``gateways``: the SPIFFE ids whose word counts
    as to whom they call for (``x-forwarded-*``). ``audience`` makes of a listener's configuration
    who is to be told of its calls: opaque here, kept as long as the listener stays as it is, and
    handed on as ``CallRecord.audience``.
    """

    complete: bool = False
    passthrough: bool = True
    config_timeout: float = CONFIG_TIMEOUT
    regex: Regex = python_regex
    service: str = ""
    locality: Locality = Locality()
    loop_lag: Callable[[], float] = float
    finditer: Finditer = python_finditer
    runtime: Mapping[str, int] = field(default_factory=dict)
    whereabouts: Whereabouts = Whereabouts()
    wall: Clock = float
    on_no_config: OnNoConfig = "wait"
    tokens: Tokens | None = None
    gateways: frozenset[str] = frozenset()
    audience: Callable[[Listener], Any] = _nobody
