"""The composition root: where options become a member of the mesh."""

from .questions import explain, request_for
from .root import Mesh

__all__ = ["Mesh", "explain", "request_for"]
