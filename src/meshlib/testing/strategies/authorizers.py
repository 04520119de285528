"""Hypothesis strategies for services that are asked whether a request may go on."""

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from meshlib.model.authn import ExtAuthz, GrpcAuthorization, HttpAuthorization, RequestBody

from .basics import HEADER_NAME, NAME, POSITIVE, TEXT, optional, some
from .matchers import metadata_matchers, string_matchers


def ext_authzs() -> SearchStrategy[ExtAuthz]:
    """Of a listener."""
    listed = some(string_matchers())
    grpc = st.builds(GrpcAuthorization, cluster=NAME, authority=TEXT)
    http = st.builds(
        HttpAuthorization,
        cluster=NAME,
        uri=NAME,
        path_prefix=st.sampled_from(["", "/check"]),
        headers_to_add=some(st.tuples(HEADER_NAME, TEXT)),
        allowed_upstream_headers=listed,
        allowed_client_headers=listed,
        allowed_client_headers_on_success=listed,
    )
    body = st.builds(
        RequestBody,
        max_request_bytes=st.integers(1, 2**32 - 1),
        allow_partial_message=st.booleans(),
        pack_as_bytes=st.booleans(),
    )
    return st.builds(
        ExtAuthz,
        service=grpc | http,
        timeout=POSITIVE,
        failure_mode_allow=st.booleans(),
        status_on_error=st.sampled_from([400, 403, 503]),
        with_request_body=optional(body),
        filter_enabled_metadata=optional(metadata_matchers()),
        allowed_headers=listed,
        disallowed_headers=listed,
        include_peer_certificate=st.booleans(),
        stat_prefix=TEXT,
    )


def ext_authzs_of_places() -> SearchStrategy[ExtAuthz]:
    said = st.dictionaries(NAME, TEXT, max_size=2).map(lambda found: tuple(sorted(found.items())))
    return st.just(ExtAuthz(enabled=False)) | st.builds(ExtAuthz, context_extensions=said)
