"""Envoy's own tests of route tables, judged by our data plane. Every row is run."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from meshlib.errors import ConfigError
from meshlib.testing import always, decide

FOLDER = Path(__file__).parents[2] / os.environ.get("MESHLIB_TESTDATA", "../shared/testdata")
FILE = FOLDER / "envoy_router_check.json"
ROWS = json.loads(FILE.read_text()) if FILE.is_file() else []
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

EXCEPTIONS = {"Runtime/Test_4": "a quirk of the tool: a fraction of 0 matches somebody"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['file']}/{row['test_name']}")
def test_a_request_goes_where_envoy_sends_it(row: dict[str, Any]) -> None:
    reason = EXCEPTIONS.get(f"{row['file']}/{row['test_name']}")
    wrong = differences(row)
    right = bool(wrong) if row.get("_must_fail") else not wrong
    if reason is None:
        assert right, wrong
    else:
        assert not right, f"no exception any more: {reason}"


def test_the_rows_are_all_there(testdata: Path) -> None:
    assert len(ROWS) == 106
    assert EXCEPTIONS.keys() <= {f"{row['file']}/{row['test_name']}" for row in ROWS}


def differences(row: dict[str, Any]) -> list[str]:
    try:
        found = judged(row)
    except ConfigError as refused:
        return [str(refused)]
    wrong = []
    for key, wanted in row["validate"].items():
        if key.endswith("_header_matches"):
            wrong += [f"{key}: {m}" for m in wanted if not holds(m, found[key])]
        elif key == "route_metadata":
            wrong += [f"{key}: {m}" for m in wanted if not noted(m, found[key])]
        elif found[key] != wanted:
            wrong.append(f"{key}: {found[key]!r}, not {wanted!r}")
    return wrong


def judged(row: dict[str, Any]) -> dict[str, Any]:
    """What the tool would say of our decision."""
    given = row["input"]
    headers = {h["key"]: h["value"] for h in given.get("additional_request_headers", ())}
    if given.get("internal"):
        headers["x-envoy-internal"] = "true"
    scheme = "https" if given.get("ssl") else "http"
    url = f"{scheme}://{given['authority']}{given['path']}"
    decision = decide(
        [{"@type": ROUTE, "name": "table", **row["route_config"]}],
        method=given["method"],
        url=url,
        headers=headers,
        dice=always(given.get("random_value", 0) % 100 / 100),
        remote_address="127.0.0.1:1",
        dynamic_metadata=metadata(given.get("dynamic_metadata", ())),
        runtime=runtime(row),
    )
    forwarded = decision.cluster is not None
    response = decision.response
    location = dict(response.headers).get("location", url) if response else ""
    answered = response.headers if response else decision.response_headers
    pseudo = {":authority": decision.authority, ":path": decision.path, ":method": given["method"]}
    return {
        "cluster_name": decision.cluster or "",
        "virtual_cluster_name": decision.virtual_cluster if forwarded else "",
        "virtual_host_name": decision.virtual_host if forwarded else "",
        "path_rewrite": decision.path if forwarded else "",
        "host_rewrite": decision.authority if forwarded else "",
        "path_redirect": location,
        "code_redirect": response.status if response else 0,
        "timeout": f"{decision.timeout or 0:g}s",
        "request_header_matches": [*pseudo.items(), *decision.request_headers],
        "response_header_matches": list(answered),
        "route_metadata": decision.route_metadata,
    }


def metadata(given: list[dict[str, Any]]) -> dict[str, Any]:
    """The tool sets one entry after the other, and the first of a namespace stays."""
    found: dict[str, Any] = {}
    for entry in given:
        if entry.get("allow_overwrite") or entry["metadata_namespace"] not in found:
            found[entry["metadata_namespace"]] = entry["value"]
    return found


def runtime(row: dict[str, Any]) -> dict[str, int]:
    """The tool switches off every fraction but that of the key which the row names."""
    matches = [r["match"] for h in row["route_config"]["virtual_hosts"] for r in h["routes"]]
    keys = {m.get("runtime_fraction", {}).get("runtime_key") for m in matches}
    return dict.fromkeys(keys - {None, row["input"].get("runtime")}, 0)


def holds(matcher: dict[str, Any], headers: list[tuple[str, str]]) -> bool:
    found = [value for name, value in headers if name == matcher["name"].lower()]
    value = ",".join(found) if found else None
    inverted = matcher.get("invert_match", False)
    exact = matcher.get("exact_match", matcher.get("string_match", {}).get("exact"))
    if exact is not None:
        return value is not None and (value == exact) is not inverted
    if "range_match" in matcher:
        limits = matcher["range_match"]
        inside = value is not None and limits["start"] <= int(value) < limits["end"]
        return inside is not inverted
    return (value is not None) is not inverted


def noted(wanted: dict[str, str], metadata: Any) -> bool:
    return metadata.get(wanted["namespace"], wanted["key"]) == wanted["value"]
