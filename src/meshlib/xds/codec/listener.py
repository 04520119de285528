"""``Listener`` with its HttpConnectionManager ⇄ :class:`Listener`."""

from ...model import HttpConnectionManager, Listener, Rds, RouteConfiguration
from .endpoint import decode_address, encode_address
from .filter import decode_filters, encode_filter
from .metadata import decode_metadata, encode_metadata
from .route import decode_route_configuration, encode_route_configuration
from .transport import refuse_encryption
from .wire import Fields, Reader, ads, duration, from_ads, packed, wrapped

HCM_NAME = "envoy.filters.network.http_connection_manager"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
NOTHING = HttpConnectionManager(routes=Rds(""))


def encode_listener(listener: Listener) -> Fields:
    http = packed(HCM, _encode_http(listener.http))
    fields = {"name": listener.name, "metadata": encode_metadata(listener.metadata)}
    if listener.address is None:
        return {**fields, "api_listener": {"api_listener": http}}
    chain = {"filters": [{"name": HCM_NAME, "typed_config": http}]}
    return {**fields, "address": encode_address(listener.address), "filter_chains": [chain]}


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
    return Listener(name=name, http=_decode_chains(reader), address=address, metadata=metadata)


def _decode_chains(reader: Reader) -> HttpConnectionManager:
    chains = reader.children("filter_chains")
    default = reader.optional_child("default_filter_chain")
    if default is not None:
        chains.append(default)
    if len(chains) != 1:
        reader.problem(f"one filter chain is supported, not {len(chains)}", "filter_chains")
        return NOTHING
    return _decode_chain(chains[0])


def _decode_chain(chain: Reader) -> HttpConnectionManager:
    refuse_encryption(chain)
    filters = chain.children("filters", lambda message: message.name)
    if len(filters) != 1:
        chain.problem("must be one HttpConnectionManager", "filters")
        return NOTHING
    filters[0].skip("name")
    return _decode_http(filters[0], "typed_config")


def _encode_http(http: HttpConnectionManager) -> Fields:
    limit = duration(http.max_stream_duration)
    return {
        "stat_prefix": http.stat_prefix,
        "http_filters": [encode_filter(one) for one in http.http_filters],
        "common_http_protocol_options": limit and {"max_stream_duration": limit},
        "normalize_path": wrapped(True) if http.normalize_path else None,
        "merge_slashes": http.merge_slashes,
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
    )


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
