"""Decisions about calls, without making any of them. Pure: no I/O, threads, clocks or dice."""

from .decision import Choice, Decision, LocalResponse, RuleTried
from .engine import Engine, Options, Prepared, python_regex
from .events import AttemptFailed, CallEnded, CallRecord, ConfigApplied, Event, Observer
from .explain import decide
from .message import Cause, Failure, Headers, Outcome, Override, Request, Response
from .steps import (
    AskRateLimit,
    AwaitConfig,
    AwaitTurn,
    Deliver,
    Effect,
    Finish,
    Pause,
    Race,
    RateLimitVerdict,
    Send,
    Serve,
    Sleep,
    Spawn,
    Steps,
    Turn,
)
from .upstream.endpoint import UpstreamEndpoint

__all__ = [
    "AskRateLimit",
    "AttemptFailed",
    "AwaitConfig",
    "AwaitTurn",
    "CallEnded",
    "CallRecord",
    "Cause",
    "Choice",
    "ConfigApplied",
    "Decision",
    "Deliver",
    "Effect",
    "Engine",
    "Event",
    "Failure",
    "Finish",
    "Headers",
    "LocalResponse",
    "Observer",
    "Options",
    "Outcome",
    "Override",
    "Pause",
    "Prepared",
    "Race",
    "RateLimitVerdict",
    "Request",
    "Response",
    "RuleTried",
    "Send",
    "Serve",
    "Sleep",
    "Spawn",
    "Steps",
    "Turn",
    "UpstreamEndpoint",
    "decide",
    "python_regex",
]
