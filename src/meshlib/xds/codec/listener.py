"""``Listener`` with its HttpConnectionManager ⇄ :class:`Listener`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...model import (
    HttpConnectionManager,
    Listener,
    PathWithEscapedSlashesAction,
    Rds,
    RouteConfiguration,
)
from ...model.security import DownstreamTls
from .access_log import decode_access_logs, encode_access_log
from .endpoint import decode_address, encode_address
from .filter import decode_filters, encode_filter
from .metadata import decode_metadata, encode_metadata
from .route import decode_route_configuration, encode_route_configuration
from .tracing import decode_tracing, encode_tracing
from .transport import decode_downstream_socket, encode_downstream_socket
from .wire import Fields, Reader, ads, duration, from_ads, packed, wrapped

HCM_NAME = "envoy.filters.network.http_connection_manager"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
TLS, RAW = "tls", "raw_buffer"
INSPECTOR_TYPE = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
INSPECTOR_NAME = "envoy.filters.listener.tls_inspector"
NOTHING = HttpConnectionManager(routes=Rds(""))
Chain = tuple[str, HttpConnectionManager, DownstreamTls | None]


def encode_listener(listener: Listener) -> Fields:
    http = packed(HCM, _encode_http(listener.http))
    fields = {"name": listener.name, "metadata": encode_metadata(listener.metadata)}
    if listener.address is None:
        return {**fields, "api_listener": {"api_listener": http}}
    return {
        **fields,
        "address": encode_address(listener.address),
        "listener_filters": [_inspector()]
        if listener.tls is not None and listener.plaintext
        else (),
        "filter_chains": _encode_chains(listener, http),
    }


def _inspector() -> Fields:
    return {"name": INSPECTOR_NAME, "typed_config": packed(INSPECTOR_TYPE, {})}


def _encode_chains(listener: Listener, http: Any) -> list[Fields]:
    """One chain, or where a connection may be encrypted or not, one for each."""
    plain: Fields = {"filters": [{"name": HCM_NAME, "typed_config": http}]}
    if listener.tls is None:
        return [plain]
    tls = {**plain, "transport_socket": encode_downstream_socket(listener.tls)}
    if not listener.plaintext:
        return [tls]
    return [
        {**tls, "filter_chain_match": {"transport_protocol": TLS}},
        {**plain, "filter_chain_match": {"transport_protocol": RAW}},
    ]


def decode_listener(reader: Reader) -> Listener:
    name, metadata = reader.text("name", required=True), decode_metadata(reader)
    if reader.has("api_listener"):
        api = reader.child("api_listener")
        http = _decode_http(api, "api_listener")
        return Listener(name=name, http=http, metadata=metadata)
    if not reader.has("address"):
        reader.problem("neither an api_listener nor an address")
        return Listener(name=name, http=NOTHING, metadata=metadata)
    address = decode_address(reader, low_port=0)
    _decode_inspector(reader)
    made = _decode_chains(reader)
    return replace(made, name=name, address=address, metadata=metadata)


def _decode_inspector(reader: Reader) -> None:
    """We always look whether a connection is encrypted, where that matters."""
    for one in reader.children("listener_filters"):
        type_name, _ = one.extension("typed_config")
        if type_name == INSPECTOR_TYPE:
            one.skip("name")
        else:
            one.drop()


def _decode_chains(reader: Reader) -> Listener:
    """How it is called and where it listens is said elsewhere."""
    chains = reader.children("filter_chains")
    default = reader.optional_child("default_filter_chain")
    if default is not None:
        chains.append(default)
    decoded = [_decode_chain(chain) for chain in chains]
    match decoded:
        case [(protocol, http, tls)] if protocol in ("", TLS if tls is not None else RAW):
            return Listener(name="", http=http, tls=tls)
        case [(_, http, _)]:
            reader.problem("a chain that no connection fits", "filter_chains")
            return Listener(name="", http=http)
        case [_, _]:
            return _decode_pair(reader, decoded)
        case _:
            found = f"one filter chain, or one with TLS and one without, not {len(chains)}"
            reader.problem(f"must be {found}", "filter_chains")
            return Listener(name="", http=NOTHING)


def _decode_pair(reader: Reader, chains: Sequence[Chain]) -> Listener:
    """What is let in with TLS and what without: both get to the same filters."""
    by_protocol = {protocol: (http, tls) for protocol, http, tls in chains}
    secure = by_protocol.get(TLS)
    plain = by_protocol.get(RAW) or by_protocol.get("")
    if secure is None or plain is None or secure[1] is None or plain[1] is not None:
        reader.problem(
            "two chains must be one of transport_protocol tls with TLS, and one of raw_buffer"
            " without",
            "filter_chains",
        )
    elif secure[0] != plain[0]:
        reader.problem("the chain with TLS and that without must be alike", "filter_chains")
    else:
        return Listener(name="", http=secure[0], tls=secure[1], plaintext=True)
    return Listener(name="", http=NOTHING)


def _decode_chain(chain: Reader) -> Chain:
    """The transport protocol that it is for, and what is done with such a connection."""
    match = chain.optional_child("filter_chain_match")
    protocol = ""
    if match is not None:
        protocol = match.text("transport_protocol")
        match.refuse_all()
    tls = decode_downstream_socket(chain)
    filters = chain.children("filters", lambda message: message.name)
    if len(filters) != 1:
        chain.problem("must be one HttpConnectionManager", "filters")
        return protocol, NOTHING, tls
    filters[0].skip("name")
    return protocol, _decode_http(filters[0], "typed_config"), tls


def _encode_http(http: HttpConnectionManager) -> Fields:
    limit = duration(http.max_stream_duration)
    return {
        "stat_prefix": http.stat_prefix,
        "http_filters": [encode_filter(one) for one in http.http_filters],
        "common_http_protocol_options": limit and {"max_stream_duration": limit},
        "normalize_path": wrapped(True) if http.normalize_path else None,
        "merge_slashes": http.merge_slashes,
        "path_with_escaped_slashes_action": _encode_slashes(http.path_with_escaped_slashes_action),
        "access_log": [encode_access_log(log) for log in http.access_log],
        "tracing": None if http.tracing is None else encode_tracing(http.tracing),
        **_encode_routes(http.routes),
    }


def _decode_http(holder: Reader, field: str) -> HttpConnectionManager:
    type_name, reader = holder.extension(field)
    if reader is None or type_name != HCM:
        holder.problem(f"must be an HttpConnectionManager, is {type_name or 'not set'}", field)
        return NOTHING
    return HttpConnectionManager(
        routes=_decode_routes(reader),
        http_filters=decode_filters(reader),
        stat_prefix=reader.text("stat_prefix"),
        max_stream_duration=reader.child("common_http_protocol_options").optional_seconds(
            "max_stream_duration"
        ),
        normalize_path=reader.flag("normalize_path"),
        merge_slashes=reader.flag("merge_slashes"),
        path_with_escaped_slashes_action=_decode_slashes(reader),
        access_log=decode_access_logs(reader),
        tracing=decode_tracing(reader),
    )


def _encode_slashes(action: PathWithEscapedSlashesAction) -> str | None:
    return None if action is PathWithEscapedSlashesAction.KEEP_UNCHANGED else action.value


def _decode_slashes(reader: Reader) -> PathWithEscapedSlashesAction:
    """What is left to the implementation is Envoy's own default: to keep them."""
    action = reader.enum("path_with_escaped_slashes_action")
    if action == "IMPLEMENTATION_SPECIFIC_DEFAULT":
        return PathWithEscapedSlashesAction.KEEP_UNCHANGED
    return PathWithEscapedSlashesAction(action)


def _encode_routes(routes: Rds | RouteConfiguration) -> Fields:
    match routes:
        case Rds(name):
            return {"rds": {"config_source": ads(), "route_config_name": name}}
        case RouteConfiguration():
            return {"route_config": encode_route_configuration(routes)}


def _decode_routes(reader: Reader) -> Rds | RouteConfiguration:
    if reader.has("route_config"):
        return decode_route_configuration(reader.child("route_config"))
    if not reader.has("rds"):
        reader.refuse("scoped_routes", otherwise="no routes")
        return Rds("")
    rds = reader.child("rds")
    from_ads(rds.child("config_source"))
    return Rds(rds.text("route_config_name", required=True))
