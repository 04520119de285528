"""Hypothesis strategies for listeners."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model import (
    Address,
    HttpConnectionManager,
    Listener,
    PathWithEscapedSlashesAction,
    Rds,
)

from .basics import NAME, TEXT, metadata, optional, seconds, some
from .filters import http_filters
from .routes import route_configurations
from .security import downstream_tls
from .telemetry import access_logs, tracings


def listeners() -> SearchStrategy[Listener]:
    http = st.builds(
        HttpConnectionManager,
        routes=st.builds(Rds, NAME) | route_configurations(),
        http_filters=http_filters(),
        stat_prefix=TEXT,
        max_stream_duration=optional(seconds()),
        normalize_path=st.booleans(),
        merge_slashes=st.booleans(),
        path_with_escaped_slashes_action=st.sampled_from(PathWithEscapedSlashesAction),
        access_log=some(access_logs()),
        tracing=optional(tracings()),
    )
    address = st.builds(Address, st.ip_addresses().map(str), st.integers(0, 65535))
    secure = st.builds(
        Listener,
        name=NAME,
        http=http,
        address=address,
        metadata=metadata(),
        tls=downstream_tls(),
        plaintext=st.booleans(),
    )
    plain = st.builds(
        Listener, name=NAME, http=http, address=optional(address), metadata=metadata()
    )
    return plain | secure
