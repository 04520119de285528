"""The composition root: where options become a member of the mesh."""

from .root import Mesh, explain, request_for

__all__ = ["Mesh", "explain", "request_for"]
