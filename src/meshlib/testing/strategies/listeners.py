"""Hypothesis strategies for listeners."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import Address, HttpConnectionManager, HttpFilter, Listener, Rds, Router

from .basics import NAME, TEXT, metadata, optional, seconds
from .routes import route_configurations


def listeners() -> SearchStrategy[Listener]:
    router = st.builds(
        HttpFilter,
        name=NAME,
        config=st.builds(Router),
        is_optional=st.booleans(),
        disabled=st.booleans(),
    )
    http = st.builds(
        HttpConnectionManager,
        routes=st.builds(Rds, NAME) | route_configurations(),
        http_filters=st.tuples(router),
        stat_prefix=TEXT,
        max_stream_duration=optional(seconds()),
    )
    return st.builds(
        Listener,
        name=NAME,
        http=http,
        address=optional(st.builds(Address, st.ip_addresses().map(str), st.integers(0, 65535))),
        metadata=metadata(),
    )
