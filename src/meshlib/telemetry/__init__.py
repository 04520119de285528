"""What is seen of calls: counted, and handed on from call to call."""

from .metrics import Recorder
from .propagation import Propagation
from .setup import Exports, setup

__all__ = ["Exports", "Propagation", "Recorder", "setup"]
