"""Decisions about calls, without making any of them. Pure: no I/O, threads, clocks or dice."""

from .decision import Choice, Decision, LocalResponse, RuleTried
from .engine import Engine, Options, Prepared, python_regex
from .events import AttemptFailed, CallEnded, CallRecord, ConfigApplied, Event, Observer
from .explain import decide
from .message import Cause, Failure, Headers, Outcome, Request, Response
from .steps import AwaitConfig, Deliver, Effect, Send, Serve, Sleep, Steps
from .upstream.endpoint import UpstreamEndpoint

__all__ = [
    "AttemptFailed",
    "AwaitConfig",
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
    "Headers",
    "LocalResponse",
    "Observer",
    "Options",
    "Outcome",
    "Prepared",
    "Request",
    "Response",
    "RuleTried",
    "Send",
    "Serve",
    "Sleep",
    "Steps",
    "UpstreamEndpoint",
    "decide",
    "python_regex",
]
