"""What is seen of calls: counted, and handed on from call to call."""

from .propagation import Propagation
from .recorder import Recorder

__all__ = ["Propagation", "Recorder"]
