"""Route tables that nobody here wrote."""

import base64
import json
from collections import Counter

from meshlib.errors import ConfigError
from meshlib.xds.codec import InvalidResourceError, decode, decode_snapshot
from meshlib.xds.types import ROUTE

# By file of the row: why its table is refused.
REFUSED = {
    "ClusterHeader": "route.cluster_header: is not supported",
    "DefaultRuntime": "route.cluster_header: is not supported",
    "DynamicMetadata": "match.dynamic_metadata: is not supported",
}


def read(path):
    return json.loads(path.read_text())


def refusal(row):
    try:
        decode_snapshot([{"@type": ROUTE, **row["route_config"]}])
    except ConfigError as refused:
        return str(refused)
    return ""


def test_envoys_route_tables_are_understood(testdata):
    refusals = [(row["file"], refusal(row)) for row in read(testdata / "envoy_router_check.json")]
    assert len(refusals) == 106
    for file, reason in refusals:
        assert REFUSED[file] in reason if file in REFUSED else not reason, (file, reason)
    # What begins to be understood must leave the list.
    assert {file for file, reason in refusals if reason} == REFUSED.keys()


def verdict(row):
    try:
        return type(decode(ROUTE, base64.b64decode(row["route_config_b64"])).resource).__name__
    except InvalidResourceError as refused:
        placed = all(problem.where.startswith("routes") for problem in refused.problems)
        return "refused" if placed else "refused somewhere"


def test_envoys_fuzzed_route_tables_are_decoded_or_refused_by_field(testdata):
    verdicts = Counter(verdict(row) for row in read(testdata / "envoy_route_corpus.json"))
    assert verdicts == {"RouteConfiguration": 8, "refused": 19}
