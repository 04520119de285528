import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshlib.dataplane import CallEnded, Response
from meshlib.dataplane.routing.matchers import path_of
from meshlib.dataplane.routing.paths import (
    canonical_path,
    has_escaped_slashes,
    merge_slashes,
    unescape_slashes,
)
from meshlib.model import (
    HttpConnectionManager,
    Listener,
    PathExact,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    gather,
)
from meshlib.testing import REVIEWS, VirtualMesh, get, one_service, play

FOLDER = Path(__file__).parents[3] / os.environ.get("MESHLIB_TESTDATA", "../shared/testdata")
FILE = FOLDER / "envoy_vectors_public.json"
VECTORS = json.loads(FILE.read_text()) if FILE.is_file() else {}
FUNCTIONS: dict[str, Callable[[str], str | None]] = {
    "canonical_path": canonical_path,
    "merge_slashes": merge_slashes,
    "remove_query_and_fragment": path_of,
}


@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name in FUNCTIONS for row in VECTORS.get(name, ())]
)
def test_a_path_becomes_what_envoy_makes_of_it(name: str, row: dict[str, Any]) -> None:
    assert FUNCTIONS[name](row["input"]) == row["expected"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/%41%7e%2f", "/A~%2f"),
        ('/{"a"}', "/%7B%22a%22%7D"),
        ("/%%41%zz", "/%A%zz"),
        ("/ä", "/%C3%A4"),
    ],
)
def test_nothing_is_escaped_but_what_has_to_be(path: str, expected: str) -> None:
    assert canonical_path(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"), [("/a/..", "/"), ("/a/b/.", "/a/b/"), ("/..?x=/../y", "/?x=/../y")]
)
def test_dots_at_the_end_leave_a_folder_and_a_query_alone(path: str, expected: str) -> None:
    assert canonical_path(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a%2Fb%5cc%5C", "/a/b\\c\\"), ("/a%252Fb", "/a%252Fb"), ("/a?b=%2F", "/a?b=%2F")],
)
def test_escaped_slashes_are_unescaped_once_and_in_the_path_alone(path: str, expected: str) -> None:
    assert unescape_slashes(path) == expected
    assert has_escaped_slashes(path) is (path != expected)


@pytest.mark.parametrize("path", ["/%2%46", "/%%32%46", "/%%300%30", "/%2%65%2%65/a"])
def test_no_escape_comes_of_unescaping(path: str) -> None:
    made = canonical_path(path)
    assert made is not None
    assert canonical_path(made) == made
    assert "%25" in made


def tidy_mesh(*, merge_slashes: bool = False) -> VirtualMesh:
    route = Route(match=RouteMatch(path=PathExact("/b")), action=RouteAction(cluster="reviews"))
    host = VirtualHost(name="host", domains=("*",), routes=(route,))
    manager = HttpConnectionManager(
        routes=RouteConfiguration(name="table", virtual_hosts=(host,)),
        normalize_path=True,
        merge_slashes=merge_slashes,
    )
    plain = one_service()
    return VirtualMesh(
        gather(
            listeners=[Listener(name=REVIEWS, http=manager)],
            clusters=plain.clusters.values(),
            endpoints=plain.endpoints.values(),
        )
    )


def test_a_path_of_slashes_alone_keeps_its_first_and_its_last() -> None:
    assert merge_slashes("///?q=//") == "//?q=//"


def test_a_listener_routes_and_sends_the_path_that_it_made() -> None:
    call = play(tidy_mesh(merge_slashes=True), get(REVIEWS, "/a/..//b?q=//"))
    assert call.trace[0]["path"] == "/b?q=//"


def test_a_path_that_means_nothing_is_a_bad_request() -> None:
    mesh = tidy_mesh()
    call = play(mesh, get(REVIEWS, "/%00"))
    assert call.outcome == Response(400)
    assert isinstance(mesh.events[-1], CallEnded)
