"""Path templates: what they match, and what is none."""

import re

import pytest

from meshlib.dataplane.routing.uri_template import template_test
from meshlib.model.uri_template import TemplateError, parse_template


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("/", ["/"], ["", "/a", "//"]),
        ("/a", ["/a"], ["/a/", "/A", "/ab", "a"]),
        ("/a/", ["/a/"], ["/a", "/a//"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/*", ["/a", "/a.b~c", "/*", "/a=b"], ["/", "/a/", "/a/b", "/a|b", "a"]),
        ("/a/*/c", ["/a/b/c"], ["/a//c", "/a/b/d", "/a/b/b/c"]),
        ("/{x}/b", ["/a/b"], ["/a/c"]),
        ("/{x=a}/b", ["/a/b"], ["/x/b"]),
        ("/{x=a/*}/c", ["/a/b/c"], ["/b/b/c"]),
        ("/{x=a}b", ["/ab"], ["/a", "/b"]),
        ("/a/*.json", ["/a/b.json", "/a/.json.json"], ["/a/.json", "/a/b", "/a/b/c.json"]),
        ("/**", ["/", "/a", "/a/b/c", "//"], ["", "a", "/a|b"]),
        ("/a/**", ["/a/", "/a/b", "/a/b/c"], ["/a", "/ab", "/b/c"]),
        ("/a/*/**", ["/a/b/", "/a/b/c/d"], ["/a/b", "/a//c"]),
        ("/**/b", ["/a/b", "/a/a/b", "//b"], ["/b", "/a/c", "/a/b/c"]),
        ("/**.json", ["/a/b.json", "/.json"], ["/a/b", "/a|b.json"]),
        ("/{x=**}/end", ["/a/end", "/a/b/end"], ["/end"]),
        ("/$(x)+/*", ["/$(x)+/a"], ["/$(x)/a", "/xx/a"]),
    ],
)
def test_a_template_matches_whole_paths(
    template: str, matching: list[str], others: list[str]
) -> None:
    test = template_test(template)
    assert [path for path in matching if not test(path)] == []
    assert [path for path in others if test(path)] == []


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("", "must begin with '/'"),
        ("a", "must begin with '/'"),
        ("//", "'' is neither an operator nor plain text"),
        ("/a//b", "'' is neither an operator nor plain text"),
        ("/a b", "'a b' is neither"),
        ("/a*", "'a*' is neither"),
        ("/*.json/b", "'.json/b' is neither"),
        ("/**/*", "'**' must be the last operator"),
        ("/**/**", "'**' must be the last operator"),
        ("/{x=**}/{y}", "'**' must be the last operator"),
        ("/{x", "'{x' is neither"),
        ("/{x=}", "'{x=}' is neither"),
        ("/{x=/a}", "'' is neither"),
        ("/{1x}", "'{1x}' is neither"),
        ("/{x}{y}", "'{y}' is neither"),
        ("/{x}/{x}", "has two variables of one name"),
        ("/{x}/{x}.json", "has two variables of one name"),
        ("/{a}/{b}/{c}/{d}/{e}/{f}", "has more than 5 variables"),
    ],
)
def test_what_is_no_template_is_refused(template: str, why: str) -> None:
    with pytest.raises(TemplateError, match=r"\A" + re.escape(why)):
        parse_template(template)
