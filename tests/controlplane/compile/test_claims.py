"""Routes by claims: what a VirtualService says of tokens is asked of the filter that reads them."""

import pytest

from meshlib.controlplane import Scope
from meshlib.controlplane.findings import findings_of
from meshlib.controlplane.scope import Sidecar
from meshlib.model import (
    Exact,
    ListMatch,
    MetadataMatcher,
    OrMatch,
    Prefix,
    Present,
    SafeRegex,
)
from meshlib.model.authn import JwtAuthn
from meshlib.xds.codec import decode_snapshot, encode_json

JWT = "envoy.filters.http.jwt_authn"
TO_REVIEWS = "route: [{destination: {host: reviews}}]"
EDGE = Scope("default", (("istio", "ingress"),), sidecar=Sidecar("10.0.0.1"))
GATEWAY = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingress}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: [shop.example]
  gateways: [front]
  http:
    - match: [{headers: {"@request.auth.claims.group": {exact: admins}}}]
      route: [{destination: {host: reviews, port: {number: 80}}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: users}
spec: {jwtRules: [{issuer: issuer.example, jwks: '{}'}]}
"""


def rule(field, name, wanted):
    return f'- match: [{{{field}: {{"{name}": {wanted}}}}}]\n  {TO_REVIEWS}\n'


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("@request.auth.claims.group", ("group",)),
        ("@request.auth.claims.a.b", ("a", "b")),
        ("@request.auth.claims[group]", ("group",)),
        ("@request.auth.claims[a][b.c]", ("a", "b.c")),
        ("@Request.Auth.Claims.Group", ("Group",)),
    ],
)
@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ("{exact: admins}", Exact("admins")),
        ("{prefix: adm}", Prefix("adm")),
        ("{regex: a.*}", SafeRegex("a.*")),
        ("{}", Present()),
    ],
)
@pytest.mark.parametrize(("field", "invert"), [("headers", False), ("withoutHeaders", True)])
def test_a_claim_is_one_value_or_an_item_of_a_list(
    routes_of, name, path, wanted, match, field, invert
):
    (route,) = routes_of(rule(field, name, wanted))
    assert route.match.headers == ()
    assert route.match.dynamic_metadata == (
        MetadataMatcher(
            filter=JWT,
            path=("payload", *path),
            match=OrMatch((ListMatch(match), match)),
            invert=invert,
        ),
    )


@pytest.mark.parametrize(
    "name",
    [
        "@request.auth.claims",
        "@request.auth.claims.",
        "@request.auth.claims.a..b",
        "@request.auth.claims[]",
        "@request.auth.claims[a",
        "@request.auth.claimsgroup",
        "@request.auth.claims.a[b]",
        "@request.headers.a",
    ],
)
@pytest.mark.parametrize("field", ["headers", "withoutHeaders"])
def test_what_is_neither_header_nor_claim_is_refused(problems_of, field, name):
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\n"
        f"spec: {{hosts: [reviews], http: [{{match: [{{{field}:\n"
        f'  {{"{name}": {{exact: a}}}}}}], {TO_REVIEWS}}}]}}\n'
    )
    ((_, place, message),) = problems_of(text)
    assert str(place) == "a.yaml:5:4"
    assert "neither a header nor a claim" in message


def test_a_gateway_routes_once_more_when_it_has_read_the_token(snapshot_of):
    snapshot = snapshot_of(GATEWAY, scope=EDGE)
    (listener,) = (one for one in snapshot.listeners.values() if one.address is not None)
    guard = listener.http.http_filters[0]
    assert isinstance(guard.config, JwtAuthn)
    assert [one.clear_route_cache for one in guard.config.providers] == [True]
    (host,) = snapshot.routes[listener.route_config_name].virtual_hosts
    (matcher,) = host.routes[0].match.dynamic_metadata
    (provider,) = guard.config.providers
    assert (matcher.filter, matcher.path[0]) == (guard.name, provider.payload_in_metadata)
    table = snapshot.routes[listener.route_config_name]
    received = decode_snapshot([encode_json(listener), encode_json(table)])
    assert received.listeners[listener.name] == listener
    assert received.routes[table.name] == table


@pytest.mark.parametrize(
    ("gateways", "severity"), [("", "warning"), ("mesh", "warning"), ("front, mesh", "info")]
)
@pytest.mark.parametrize(
    ("field", "said"), [("headers", "never matches"), ("withoutHeaders", "excludes nobody")]
)
def test_in_the_mesh_nobody_has_a_token_that_was_verified(
    world_of, gateways, severity, field, said
):
    through = f"gateways: [{gateways}], " if gateways else ""
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\n"
        f"spec: {{hosts: [reviews.example], {through}http: [{{match: [{{{field}:\n"
        '  {"@request.auth.claims.a": {exact: b}}}], redirect: {uri: /}}]}\n'
    )
    (finding,) = (one for one in findings_of(world_of(GATEWAY, text)) if one.code == "ML1005")
    assert finding.severity == severity
    assert said in finding.message
    assert str(finding.place) == "b.yaml:5:30"


def test_where_calls_come_in_by_gateways_alone_claims_are_known(world_of):
    assert [one for one in findings_of(world_of(GATEWAY)) if one.code == "ML1005"] == []
