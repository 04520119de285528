"""How the types of resources are called by people: ``lds``, ``rds``, …"""

from ..xds.types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105

SHORT = {
    CLUSTER: "cds",
    ENDPOINT: "eds",
    LISTENER: "lds",
    ROUTE: "rds",
    SECRET: "sds",
    EXTENSION: "ecds",
    RUNTIME: "rtds",
}


def short(type_url: str) -> str:
    return SHORT.get(type_url, type_url)
