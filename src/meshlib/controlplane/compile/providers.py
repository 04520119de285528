"""``extensionProviders`` of the MeshConfig → the services that CUSTOM policies ask."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ... import model
from ...model.authn import ExtAuthz, GrpcAuthorization, HttpAuthorization, RequestBody
from ..manifests.extension_provider import (
    EnvoyExtAuthzHttp,
    ExtAuthzProvider,
    IncludeRequestBody,
)
from .names import cluster_name
from .view import View

TIMEOUT = 0.2
FORBIDDEN = "403"
ANY_NAME = model.SafeRegex(".*")


def providers_of(view: View) -> Mapping[str, ExtAuthz]:
    """By name. One whose service is not known here is missing: whoever needs it is denied."""
    found: dict[str, ExtAuthz] = {}
    for one in view.mesh.extension_providers:
        said = one.authorizer
        if said is None:
            continue
        host = said.service.rpartition("/")[2].lower()
        service = view.service(host)
        if service is not None and service.is_known and service.port(said.port) is not None:
            found[one.name] = _ext_authz(said, host)
    return found


def _ext_authz(said: ExtAuthzProvider, host: str) -> ExtAuthz:
    cluster = cluster_name(host, said.port)
    made = ExtAuthz(
        timeout=said.timeout or TIMEOUT,
        failure_mode_allow=said.fail_open,
        status_on_error=int(said.status_on_error or FORBIDDEN),
        with_request_body=_body(said.include_request_body_in_check),
    )
    if not isinstance(said, EnvoyExtAuthzHttp):
        return replace(made, service=GrpcAuthorization(cluster=cluster, authority=host))
    return replace(made, service=_over_http(said, host, cluster), allowed_headers=_shown(said))


def _over_http(said: EnvoyExtAuthzHttp, host: str, cluster: str) -> HttpAuthorization:
    return HttpAuthorization(
        cluster=cluster,
        uri=f"http://{host}",
        path_prefix=said.path_prefix,
        headers_to_add=tuple(sorted(said.include_additional_headers_in_check.items())),
        allowed_upstream_headers=_names(said.headers_to_upstream_on_allow),
        allowed_client_headers=_names(said.headers_to_downstream_on_deny),
        allowed_client_headers_on_success=_names(said.headers_to_downstream_on_allow),
    )


def _shown(said: EnvoyExtAuthzHttp) -> tuple[model.StringMatcher, ...]:
    """The older word counts where the newer says nothing."""
    return _names(said.include_request_headers_in_check or said.include_headers_in_check)


def _names(patterns: Iterable[str]) -> tuple[model.StringMatcher, ...]:
    return tuple(map(_name, patterns))


def _name(pattern: str) -> model.StringMatcher:
    if pattern == "*":
        return ANY_NAME
    if pattern.startswith("*"):
        return model.Suffix(pattern[1:], ignore_case=True)
    if pattern.endswith("*"):
        return model.Prefix(pattern[:-1], ignore_case=True)
    return model.Exact(pattern, ignore_case=True)


def _body(said: IncludeRequestBody | None) -> RequestBody | None:
    if said is None:
        return None
    return RequestBody(
        max_request_bytes=said.max_request_bytes,
        allow_partial_message=said.allow_partial_message,
        pack_as_bytes=said.pack_as_bytes,
    )
