"""What is seen of calls: counted, and handed on from call to call."""

from .metrics import Recorder
from .propagation import Propagation

__all__ = ["Propagation", "Recorder"]
