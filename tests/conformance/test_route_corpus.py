"""Seeds of Envoy's route fuzzer: senseless tables give a verdict, and nothing worse."""

import base64
import json

from meshlib.dataplane import Decision
from meshlib.errors import ConfigError
from meshlib.model import RouteConfiguration, Snapshot
from meshlib.testing import decide
from meshlib.testing.dice import always
from meshlib.xds.codec import decode
from meshlib.xds.types import ROUTE

ROWS = 27
UNDERSTOOD = 9


def rows(testdata):
    found = json.loads((testdata / "envoy_route_corpus.json").read_text())
    assert len(found) == ROWS
    return found


def verdict(row):
    """The table, or the problems for which it is refused."""
    try:
        return decode(ROUTE, base64.b64decode(row["route_config_b64"])).resource
    except ConfigError as refused:
        return refused.problems


def routed(table, row):
    headers = dict(row["headers"])
    path, host = headers.pop(":path", "/"), headers.pop(":authority", "") or "host"
    method = headers.pop(":method", "GET")
    plain = {name: value for name, value in headers.items() if not name.startswith(":")}
    return decide(
        Snapshot(routes={table.name: table}),
        method=method,
        url=f"http://{host}{path}",
        headers=plain,
        dice=always(row["random"] % 2**32 / 2**32),
    )


def test_every_seed_is_a_table_that_routes_or_is_refused_by_field(testdata):
    verdicts = [(row, verdict(row)) for row in rows(testdata)]
    tables = [(row, made) for row, made in verdicts if isinstance(made, RouteConfiguration)]
    assert len(tables) == UNDERSTOOD
    for row, table in tables:
        assert isinstance(routed(table, row), Decision), row["file"]
    for row, problems in verdicts:
        if not isinstance(problems, RouteConfiguration):
            assert problems, row["file"]
            assert all(p.where.startswith("routes") and p.what for p in problems), row["file"]


def test_the_same_seed_gets_the_same_verdict(testdata):
    first, second = ([verdict(row) for row in rows(testdata)] for _ in range(2))
    assert first == second
