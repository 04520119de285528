"""What a forked child must do: threads and connections stay behind in the parent."""

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    def begin_anew(self) -> None: ...


def begin_anew_after_fork(one: Forked) -> None:
    """The child starts its own when it calls."""
    alive = weakref.ref(one)

    def reset() -> None:
        child = alive()
        if child is not None:
            child.begin_anew()

    os.register_at_fork(after_in_child=reset)
