"""Metrics: counted in numbers of our own, made into Istio's and gRPC's when somebody reads."""

from .recorder import Recorder

__all__ = ["Recorder"]
