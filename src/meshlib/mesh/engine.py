"""The engine of a mesh: what the core may not have by itself is handed to it here."""

import os
import random  # noqa: TID251 - the one floor where luck comes in
import socket
import time

from ..dataplane import Engine, Observer, Whereabouts
from ..dataplane import Options as EngineOptions
from ..dataplane.options import OnNoConfig
from ..middleware._loop_lag import LoopLag
from ..telemetry.audience import audience_of, default_audience
from ..xds.regex import finditer, fullmatch
from .options import Options
from .tokens import tokens_of_a_mesh


def engine_of(options: Options, observe: Observer) -> Engine:
    otherwise = default_audience(os.environ)
    engine = Engine(
        clock=time.monotonic,
        dice=random.random,
        observe=observe,
        options=EngineOptions(
            complete=options.control_plane is None and options.bootstrap is None,
            passthrough=options.outbound_traffic_policy != "REGISTRY_ONLY"
            and options.mtls != "strict",  # whom nobody knows nobody can verify
            regex=fullmatch,
            finditer=finditer,
            whereabouts=Whereabouts(hostname=socket.gethostname(), environment=dict(os.environ)),
            service=options.service,
            locality=options.locality,
            loop_lag=LoopLag(),
            on_no_config=_without(options.on_no_config),
            wall=time.time,  # noqa: TID251 - handed on, as a clock
            tokens=tokens_of_a_mesh(),
            gateways=frozenset(options.trusted_gateways),
            audience=lambda listener: audience_of(listener, otherwise, engine.runtime),
        ),
    )
    return engine


def _without(on_no_config: str) -> OnNoConfig:
    """What the engine has to know of it: a configuration on disk is none to the engine."""
    match on_no_config:
        case "fail" | "direct":
            return on_no_config
        case _:
            return "wait"
