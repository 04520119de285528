from collections.abc import Callable
from typing import Any

import pytest

from meshlib.xds.codec import Decoded, decode
from meshlib.xds.protos import from_json
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

HCM = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager"
)
ROUTER = {
    "name": "router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}


def decode_json(type_url: str, fields: dict[str, Any]) -> Decoded:
    packed = from_json({"@type": type_url, **fields})
    return decode(packed.type_url, packed.value)


@pytest.fixture
def decode_cluster() -> Callable[..., Decoded]:
    eds = {"type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}}
    return lambda **fields: decode_json(CLUSTER, {"name": "reviews", **eds, **fields})


@pytest.fixture
def decode_route() -> Callable[..., Decoded]:
    """Decodes a table whose only route has these fields."""

    def made(**route: Any) -> Decoded:
        host = {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}
        return decode_json(ROUTE, {"name": "table", "virtual_hosts": [host]})

    return made


@pytest.fixture
def decode_table() -> Callable[..., Decoded]:
    return lambda **fields: decode_json(ROUTE, {"name": "table", **fields})


@pytest.fixture
def decode_endpoints() -> Callable[..., Decoded]:
    return lambda *groups, **fields: decode_json(
        ENDPOINT, {"cluster_name": "reviews", "endpoints": list(groups), **fields}
    )


@pytest.fixture
def decode_http() -> Callable[..., Decoded]:
    """Decodes an API listener whose HttpConnectionManager has these fields."""

    def made(**http: Any) -> Decoded:
        rds = {"route_config_name": "table", "config_source": {"ads": {}}}
        manager = {"@type": HCM, "rds": rds, "http_filters": [ROUTER], **http}
        return decode_json(
            LISTENER, {"name": "reviews:80", "api_listener": {"api_listener": manager}}
        )

    return made


@pytest.fixture
def decode_listener() -> Callable[..., Decoded]:
    return lambda **fields: decode_json(LISTENER, {"name": "inbound", **fields})
