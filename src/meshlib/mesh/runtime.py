"""The runtime of a mesh: what the hooks share, with the clock and all that it is given."""

import time
from collections.abc import Callable

from ..dataplane import Engine
from ..middleware._drive import Runtime
from .identity import Identity
from .native import NativeResources
from .options import Options
from .telemetry import Seen


def runtime_of(
    options: Options,
    engine: Engine,
    identity: Identity,
    seen: Seen,
    *,
    start: Callable[[], None],
    want: Callable[[str], None],
) -> Runtime:
    made = Runtime(
        engine,
        clock=time.monotonic,
        sleep=time.sleep,
        start=start,
        want=want,
        propagation=seen.propagation,
        afterwards=seen.afterwards,
    )
    made.native, made.propagate_deadlines = NativeResources(), options.propagate_deadlines
    made.credentials, made.mtls = identity.for_calls, options.mtls
    made.security.secrets = identity.named
    return made
