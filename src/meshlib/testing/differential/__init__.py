"""Route tables and requests at random, and what our data plane makes of them.

For tests that ask another implementation the same: everything follows from a seed.
"""

from .case import CLUSTERS, UPSTREAM_HEADERS, Case, Sent, case, listener
from .found import FOUND
from .ours import Verdict, engine, judged

__all__ = [
    "CLUSTERS",
    "FOUND",
    "UPSTREAM_HEADERS",
    "Case",
    "Sent",
    "Verdict",
    "case",
    "engine",
    "judged",
    "listener",
]
