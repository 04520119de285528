"""Route tables that nobody here wrote."""

import json

from meshlib.errors import ConfigError
from meshlib.xds.codec import decode_snapshot
from meshlib.xds.types import ROUTE


def read(path):
    return json.loads(path.read_text())


def refusal(row):
    try:
        decode_snapshot([{"@type": ROUTE, **row["route_config"]}])
    except ConfigError as refused:
        return str(refused)
    return ""


def test_envoys_route_tables_are_understood(testdata):
    rows = read(testdata / "envoy_router_check.json")
    assert len(rows) == 106
    assert [(row["file"], reason) for row in rows if (reason := refusal(row))] == []
