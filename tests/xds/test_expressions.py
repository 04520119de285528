"""Expressions of configuration: what is no CEL, or asks for what nobody knows, is refused."""

import pytest

from meshlib.xds.expressions import MAX_LENGTH, why_not_cel


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "response.code >= 400 || request.duration > duration('1s')",
        "'x-user' in request.headers ? request.headers['x-user'] : 'nobody'",
        "request.url_path.startsWith('/a') && !has(request.referer)",
        "[200, 204].exists(x, x == response.code)",
        "request.time.getHours() > 1",
        "type(request.host) == string",
        "connection.mtls",
        "xds.upstream_host_metadata.filter_metadata['istio']['workload']",
    ],
)
def test_what_envoy_understands_is_taken(text):
    assert why_not_cel(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a valid CEL expression"),
        ("response.code >", r"is not a valid CEL expression: .*\(line 1, column \d+\)"),
        ("responce.code == 1", "speaks of 'responce', of which nothing is known"),
        ("[1].exists(x, y == 1)", "speaks of 'y'"),
        ("system('ls')", "calls 'system', which is no function"),
        ("'" + "a" * MAX_LENGTH + "'", f"is longer than {MAX_LENGTH} characters"),
        ("[1].map(a, [1].map(b, [1].map(c, a)))", "has more than 2 loops"),
        ("[1].all//\n(//\nnode, [1].//\nall(//\nrequest, [1].all(//\nsource, true)))", "has more"),
        ("[1].all(a, [1].existsOne(b, [1].existsOne(c, true)))", "has more than 2 loops"),
    ],
)
def test_what_it_does_not_is_refused_with_the_reason(text, why):
    import re

    assert re.match(why, why_not_cel(text))
