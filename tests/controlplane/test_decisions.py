"""What rules come to, asked of the engine that runs on them."""

import pytest
import yaml

from meshlib.testing import decide

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "reviews"},
    "spec": {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 80}]},
}
CLUSTER = "outbound|80||reviews.default.svc.cluster.local"
TO = "route: [{destination: {host: reviews}}]"


def decided(http, url="http://reviews/a/b", delegate="", **request):
    def rules(name, text, **spec):
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": name},
            "spec": {**spec, "http": yaml.safe_load(text)},
        }

    documents = [SERVICE, rules("root", http, hosts=["reviews"])]
    if delegate:
        documents.append(rules("inner", delegate))
    return decide(documents, url=url, **request)


def test_a_delegates_rule_is_met_where_both_match():
    root = "[{match: [{uri: {prefix: /a}}], delegate: {name: inner}, timeout: 2s}]"
    inner = f"[{{match: [{{uri: {{prefix: /a/b}}}}], {TO}}}]"
    inside = decided(root, delegate=inner)
    assert (inside.cluster, inside.timeout) == (CLUSTER, 2.0)
    assert decided(root, "http://reviews/a/c", delegate=inner).cluster is None


def test_a_regex_rewrites_the_path():
    http = rf"[{{rewrite: {{uriRegexRewrite: {{match: '^/(.*)/b', rewrite: '/c/\1'}}}}, {TO}}}]"
    assert decided(http).path == "/c/a"


@pytest.mark.parametrize(
    "redirect, location",
    [
        ("uri: '%PREFIX()%/new'", "http://reviews/new/b"),
        ("port: 8080", "http://reviews:8080/a/b"),
        ("derivePort: FROM_REQUEST_PORT, scheme: https", "https://reviews:80/a/b"),
    ],
)
def test_a_redirect_says_where_to_go(redirect, location):
    http = f"[{{match: [{{uri: {{prefix: /a}}}}], redirect: {{{redirect}}}}}]"
    response = decided(http).response
    assert response.status == 301
    assert dict(response.headers)["location"] == location


def test_formats_are_filled_in():
    http = f"[{{headers: {{request: {{set: {{x-was: '%REQ(x-is)%'}}}}}}, {TO}}}]"
    decision = decided(http, headers={"x-is": "here"})
    assert dict(decision.request_headers)["x-was"] == "here"


def test_a_path_in_any_case_matches_where_the_rule_says_so():
    http = f"[{{match: [{{uri: {{prefix: /A}}, ignoreUriCase: true}}], {TO}}}]"
    assert decided(http).cluster == CLUSTER
