"""Who verifies callers' tokens for a mesh, and where issuers' keys may be fetched from."""

import os
import random  # noqa: TID251 - luck is handed on from here
import time
from collections.abc import Callable

from ..identity.key_fetch import Fetcher, allowed_hosts
from ..identity.remote_keys import RemoteKeys
from ..middleware._drive import Runtime
from ..middleware._tokens import VerifiedTokens


def tokens_of_a_mesh() -> VerifiedTokens:
    """Nothing is fetched, and no thread begun, before a token needs it."""
    fetcher = Fetcher(allowed_hosts(os.environ))
    remote = RemoteKeys(clock=time.monotonic, dice=random.random, fetch=fetcher.fetch)
    return VerifiedTokens(time.time, remote, _at_once)  # noqa: TID251 - handed on, as a clock


def attach(runtime: Runtime) -> VerifiedTokens | None:
    """Calls that wait for keys go on under the runtime's lock."""
    tokens = runtime.engine.options.tokens
    if not isinstance(tokens, VerifiedTokens):
        return None
    tokens.soon = runtime.soon
    runtime.resets.append(tokens.reset)
    return tokens


def _at_once(action: Callable[[], None]) -> None:
    action()
