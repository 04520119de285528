"""What Istio makes of AuthorizationPolicies, and what we make of them, let the same calls in."""

import ipaddress
import json
import os
import random
from pathlib import Path

import pytest

from meshlib.controlplane import Scope, compile_snapshot, load_documents
from meshlib.dataplane import CallRecord, Connection, Peer, Request, Serve
from meshlib.dataplane.filters.chain import FACTORIES, Kept, Site, stacked
from meshlib.dataplane.filters.rbac_rules import Judge
from meshlib.model.authn import ExtAuthz
from meshlib.model.rbac import AndRules, AnyRule, Policy, Rbac, RbacAction, RbacRules
from meshlib.testing import FakeClock, always
from meshlib.testing._decide import metadata_of
from meshlib.xds.codec import decode
from meshlib.xds.protos import from_json
from meshlib.xds.regex import fullmatch
from meshlib.xds.types import LISTENER

HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
ROUTED = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": f"{EXTENSIONS}.http.router.v3.Router"},
}
HOST = "my-custom-ext-authz.foo.svc.cluster.local"
ANYBODY = "spiffe://cluster.local/ns/other/sa/other"
COMMON = 300
"""Requests that are put together of all values of a row, besides those that go by one rule."""

TCP = "a library guards the HTTP and gRPC that it serves, and our Envoys have no ports of TCP"
EXCEPTIONS = {
    "tcp/allow-both-http-tcp": TCP,
    "tcp/allow-only-http": TCP,
    "tcp/audit-both-http-tcp": TCP,
    "tcp/custom-both-http-tcp": TCP,
    "tcp/custom-only-http": TCP,
    "tcp/deny-both-http-tcp": TCP,
    "tcp/dry-run-mix": TCP,
}
"""Rows that are not judged, and why. This list only shrinks."""

ASKED_BY_HTTP = {
    "service": f"foo/{HOST}",
    "port": 9000,
    "timeout": "10s",
    "failOpen": True,
    "pathPrefix": "/check",
    "includeRequestHeadersInCheck": ["x-custom-id", "x-prefix-*", "*-suffix"],
    "includeAdditionalHeadersInCheck": {"x-header-1": "value-1", "x-header-2": "value-2"},
    "includeRequestBodyInCheck": {
        "maxRequestBytes": 2048,
        "allowPartialMessage": True,
        "packAsBytes": True,
    },
    "headersToUpstreamOnAllow": ["Authorization", "x-prefix-*", "*-suffix"],
    "headersToDownstreamOnDeny": ["Set-cookie", "x-prefix-*", "*-suffix"],
    "headersToDownstreamOnAllow": ["Set-cookie", "x-prefix-*", "*-suffix"],
}
ASKED_BY_GRPC = {
    "service": f"foo/{HOST}",
    "port": 9000,
    "timeout": "2ms",
    "failOpen": True,
    "includeRequestBodyInCheck": {"maxRequestBytes": 4096, "allowPartialMessage": True},
}
# Unset, Istio lets a question take 600 s, and we do not.
UNSAID = {"service": HOST, "port": 9000, "timeout": "600s", "failOpen": True}
PROVIDERS = {
    "custom-grpc-provider-no-namespace": {"default": {"envoyExtAuthzGrpc": UNSAID}},
    "custom-grpc-provider": {"default": {"envoyExtAuthzGrpc": ASKED_BY_GRPC}},
    "custom-http-provider": {"default": {"envoyExtAuthzHttp": ASKED_BY_HTTP}},
    "custom-bad-multiple-providers": {
        "default": {"envoyExtAuthzGrpc": ASKED_BY_GRPC},
        "another": {"envoyExtAuthzGrpc": ASKED_BY_GRPC},
    },
    "custom-bad-invalid-config": {"default": {"envoyExtAuthzGrpc": {**ASKED_BY_GRPC, "port": 1}}},
}
SERVICES = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "foo"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "grpc", "port": 9000}]},
    }
    for name in ("httpbin", "my-custom-ext-authz")
]


def rows():
    folder = Path(__file__).parent.parent.parent
    file = folder / os.environ.get("MESHLIB_TESTDATA", "../shared/testdata")
    file = file / "istio_authz_golden.json"
    found = json.loads(file.read_text()) if file.is_file() else []
    return {f"{row['kind']}/{row['name']}": row for row in found}


ROWS = rows()
JUDGED = [name for name in ROWS if name not in EXCEPTIONS]


def test_every_row_is_judged_or_listed(testdata):
    assert (len(ROWS), len(JUDGED)) == (29, 22)
    assert EXCEPTIONS.keys() == {name for name in ROWS if name.startswith("tcp/")}


@pytest.mark.parametrize("name", JUDGED)
def test_a_golden_row_lets_the_same_calls_in(name):
    row = ROWS[name]
    ours, theirs = guard_of(compiled(row)), guard_of(wanted(row))
    requests = requests_of(row)
    verdicts = [verdict(ours, request) for request in requests]
    assert verdicts == [verdict(theirs, request) for request in requests]
    assert len(set(map(str, verdicts))) > 1 or name in ALIKE


ALIKE = {
    "http/allow-empty-rule",
    "http/allow-full-rule",
    "http/allow-nil-rule",
    "http/allow-path",
    "http/audit-full-rule",
    "http/deny-empty-rule",
    "http/single-policy",
}
"""By these all calls are judged alike: what their rules say is compared part by part alone."""


@pytest.mark.parametrize("name", JUDGED)
def test_each_part_of_a_golden_rule_means_the_same(name):
    row = ROWS[name]
    requests = requests_of(row)
    ours, theirs = policies_in(compiled(row)), policies_in(wanted(row))
    assert ours.keys() == theirs.keys()
    for key, policy in ours.items():
        for side in ("permissions", "principals"):
            made, golden = getattr(policy, side), getattr(theirs[key], side)
            assert len(made) == len(golden), key
            for one, other in zip(made, golden, strict=True):
                assert meanings(one, requests) == meanings(other, requests), (key, side)


@pytest.mark.parametrize("name", [name for name in JUDGED if ROWS[name]["custom_provider"]])
def test_a_custom_policy_asks_the_same_service_the_same(name):
    asked = [one.config for one in compiled(ROWS[name]) if isinstance(one.config, ExtAuthz)]
    assert asked == [one.config for one in wanted(ROWS[name]) if isinstance(one.config, ExtAuthz)]
    assert bool(asked) is not name.startswith("http/custom-bad")


# -- what we make, and what Istio made --


def compiled(row):
    trust = row["trust"] or {}
    providers = PROVIDERS[row["name"]] if row["custom_provider"] else {}
    mesh = {
        "kind": "MeshConfig",
        "trustDomain": trust.get("trustDomain", "cluster.local"),
        "trustDomainAliases": trust.get("aliases", []),
        "extensionProviders": [{"name": name, **said} for name, said in providers.items()],
    }
    world = load_documents([mesh, *SERVICES, *row["policies"]])
    proxy = row["proxy"]
    scope = Scope(proxy["namespace"], tuple(sorted(proxy["labels"].items())))
    snapshot = compile_snapshot(world, scope)
    snapshot.check()
    return snapshot.listeners["inbound"].http.http_filters[:-1]


def wanted(row):
    """Each by itself: Istio's have one name."""
    return [decoded(one) for one in row["want_filters"]]


def decoded(said):
    manager = {
        "@type": f"type.googleapis.com/{HCM}",
        "rds": {"route_config_name": "-", "config_source": {"ads": {}}},
        "http_filters": [said, ROUTED],
    }
    resource = {"@type": LISTENER, "name": "x", "api_listener": {"api_listener": manager}}
    message = from_json(resource, where="golden")
    return decode(message.type_url, message.value).resource.http.http_filters[0]


def guard_of(filters):
    """The filters of access control, before which nothing stands: some golden values are no HTTP.

    Who is to be asked stands aside: what the filter before it noted is compared.
    """
    site = Site(
        place=("t",),
        clock=FakeClock(),
        dice=always(0.0),
        regex=fullmatch,
        kept=Kept(),
        clusters={},
    )
    configs = [one.config for one in filters if isinstance(one.config, Rbac)]
    return stacked([FACTORIES[Rbac](config, site) for config in configs], served)


def served(request, record):
    yield Serve(request, record)


def verdict(guard, request):
    effect = next(guard(request, CallRecord(request, 0.0, inbound=True)))
    if not isinstance(effect, Serve):
        return "denied"
    metadata = effect.request.dynamic_metadata
    return [pair for pair in metadata.filter_metadata if pair[0] != JWT] if metadata else []


def policies_in(filters):
    found = {}
    for one in filters:
        if isinstance(one.config, Rbac):
            for kind in ("rules", "shadow_rules"):
                rules = getattr(one.config, kind)
                for policy in rules.policies if rules is not None else ():
                    found[kind, rules.action, policy.name] = policy
    return found


def meanings(rule, requests):
    """For which requests each part holds, whatever the order of the parts."""
    parts = rule.rules if isinstance(rule, AndRules) else (rule,)
    return sorted(tuple(map(holds(part), requests)) for part in parts)


def holds(part):
    policy = Policy(name="p", permissions=(part,), principals=(AnyRule(),))
    judge = Judge(RbacRules(action=RbacAction.DENY, policies=(policy,)), fullmatch)
    return lambda request: judge.policy(request) is not None


# -- requests: what is said in a row, and what is nearly that --

PLAINTEXT, NOBODY = "", Peer()
JWT = "envoy.filters.http.jwt_authn"
NOTHING = {
    "principal": ANYBODY,
    "address": "203.0.113.9",
    "method": "GET",
    "host": "other.example",
    "path": "/other",
    "local": "192.0.2.1",
    "port": "1234",
    "sni": "other.example",
}


def requests_of(row):
    """As every rule wants it, then with one thing changed, then at random."""
    values, rules = {"principal": [PLAINTEXT]}, []
    domains = [row["trust"]["trustDomain"], *row["trust"]["aliases"]] if row["trust"] else []
    for policy in row["policies"]:
        for rule in policy["spec"].get("rules", []):
            for source in rule.get("from", [{"source": {}}]):
                for to in rule.get("to", [{"operation": {}}]):
                    said = facts(source["source"], to["operation"], rule.get("when", []), domains)
                    rules.append({key: found[0] for key, found in said.items() if found})
                    for key, found in said.items():
                        values.setdefault(key, []).extend(found)
    values = {key: list(dict.fromkeys([*found, NOTHING.get(key)])) for key, found in values.items()}
    made = [{}, *rules]
    for rule in rules:
        made += [{**rule, key: one} for key, found in values.items() for one in found]
    dice = random.Random(7)
    keys = sorted(values)
    for _ in range(COMMON):
        chosen = {key for key in keys if dice.random() < 0.8}
        made.append({key: dice.choice(values[key]) for key in keys if key in chosen})
    return [request_of(one) for one in made]


def facts(source, operation, conditions, domains):
    """Values of each fact that a request has, hits of what is wanted first."""
    found = {}

    def add(fact, values):
        found.setdefault(fact, []).extend(values)

    for name, values in source.items():
        kind = name.removeprefix("not")
        for value in values:
            add(*SOURCES[kind[0].lower() + kind[1:]](value, domains))
    for name, values in operation.items():
        kind = name.removeprefix("not")
        for value in values:
            add(*OPERATIONS[kind[0].lower() + kind[1:]](value))
    for condition in conditions:
        for value in [*condition.get("values", []), *condition.get("notValues", [])]:
            add(*keyed(condition["key"], value, domains))
    return found


def like(value):
    """The value, where it has a star with something there, and some that are nearly it."""
    if value.startswith("*") or value.endswith("*"):
        bare = value.strip("*")
        return [value.replace("*", "x"), bare, f"x{bare}x", f"y/{bare}", f"{bare}/y"]
    return [value, f"{value}x", f"x{value}", value.upper(), value.replace(".", "x")]


def principals(value, domains):
    parts = value.split("/")
    names = [value]
    if len(parts) == 5:
        names += ["/".join((domain, *parts[1:])) for domain in (*domains, "cluster.local", "no-td")]
    return "principal", [f"spiffe://{one}" for name in names for one in like(name)]


def namespaces(value, domains):
    return "principal", [f"spiffe://td/ns/{one}/sa/x" for one in like(value)]


def accounts(value, domains):
    namespace, _, name = value.rpartition("/")
    home = namespace or "foo"
    ids = [f"spiffe://td/ns/{home}/sa/{one}" for one in like(name)]
    return "principal", [*ids, f"spiffe://td/ns/{home}x/sa/{name}", f"spiffe://td/ns/{home}/sa/x"]


def trust(value, domains):
    return "principal", [f"spiffe://{one}/ns/foo/sa/x" for one in like(value)]


def blocks(fact):
    def make(value, domains=()):
        network = ipaddress.ip_network(value)
        first, last = network[0], network[-1]
        return fact, [str(one) for one in (first, last, last + 1, first - 1)]

    return make


def callers(value, domains=()):
    """``iss/sub`` in every way that a text may be taken for one."""
    made = []
    for one in like(value):
        issuer, slash, subject = one.rpartition("/")
        made += [(issuer, subject)] if slash else [(one, ""), ("", one), (one, "x"), ("x", one)]
    return "caller", made


def paths(value):
    made = [value.replace("{**}", one).replace("{*}", one) for one in ("a", "a/b", "")]
    return "path", [text for one in made for text in (*like(one), f"{one}?q=1")]


SOURCES = {
    "principals": principals,
    "namespaces": namespaces,
    "serviceAccounts": accounts,
    "trustDomains": trust,
    "ipBlocks": blocks("address"),
    "remoteIpBlocks": blocks("address"),
    "requestPrincipals": callers,
}
OPERATIONS = {
    "hosts": lambda value: ("host", like(value)),
    "methods": lambda value: ("method", like(value)),
    "ports": lambda value: ("port", [value, str(int(value) + 1)]),
    "paths": paths,
}
CONDITIONS = {
    "source.ip": blocks("address"),
    "remote.ip": blocks("address"),
    "destination.ip": blocks("local"),
    "source.namespace": namespaces,
    "source.principal": principals,
    "source.serviceAccount": accounts,
    "source.trustDomain": trust,
    "request.auth.principal": callers,
}


def keyed(key, value, domains):
    if key in CONDITIONS:
        return CONDITIONS[key](value, domains)
    match key:
        case "destination.port":
            return OPERATIONS["ports"](value)
        case "connection.sni":
            return "sni", like(value)
        case "request.auth.audiences":
            return "claim:aud", [*like(value), *((one,) for one in like(value))]
        case "request.auth.presenter":
            return "claim:azp", like(value)
    if key.startswith("request.auth.claims["):
        path = key.removeprefix("request.auth.claims[")[:-1].replace("][", "/")
        return f"claim:{path}", [*like(value), *(("z", one) for one in like(value))]
    if key.startswith("request.headers["):
        return f"header:{key.removeprefix('request.headers[')[:-1].lower()}", like(value)
    name, _, path = key.removeprefix("experimental.").partition("[")
    bare = value.strip("[]")
    return f"noted:{name}/{path[:-1]}", [*like(bare), *((one,) for one in like(bare))]


def request_of(said):
    told = {**NOTHING, **{key: one for key, one in said.items() if one is not None}}
    noted = {}
    for key, value in told.items():
        kind, _, path = key.partition(":")
        if kind == "claim":
            put(noted, [JWT, "payload", *path.split("/")], value)
        elif kind == "noted":
            put(noted, path.split("/"), value)
        elif kind == "caller":
            put(noted, [JWT, "payload", "iss"], value[0])
            put(noted, [JWT, "payload", "sub"], value[1])
    return Request(
        told["host"].lower(),
        told["method"],
        told["path"],
        told["host"],
        headers=tuple(
            (key.removeprefix("header:"), value)
            for key, value in told.items()
            if key.startswith("header:")
        ),
        source=f"{told['address']}:40000",
        dynamic_metadata=metadata_of(noted) if noted else None,
        connection=Connection(
            peer=NOBODY if told["principal"] == PLAINTEXT else member(told["principal"]),
            local_address=f"{told['local']}:{told['port']}",
            server_name=told["sni"],
        ),
    )


def member(principal):
    return Peer(secure=True, uri_sans=(principal,))


def put(place, path, value):
    *above, last = path
    for name in above:
        inner = place.setdefault(name, {})
        place = inner if isinstance(inner, dict) else {}
    place[last] = value
