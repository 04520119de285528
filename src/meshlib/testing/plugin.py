"""The pytest plug-in that comes with meshlib. Loaded by every run, so it imports nothing heavy."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .clock import FakeClock


@pytest.fixture
def fake_clock() -> "FakeClock":
    """A clock that passes only when told to: ``fake_clock.jump(30)``."""
    from .clock import FakeClock

    return FakeClock()
