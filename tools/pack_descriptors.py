"""Build hook: packs the xDS protos that meshlib speaks into one descriptor file.

``xds-protos`` is wanted at build time only: at run time its wheel would overwrite files of
``opentelemetry-proto`` and ``googleapis-common-protos``. So nothing of it is imported here
either; the descriptors are read out of its generated modules as text.

In a checkout without an install: ``python tools/pack_descriptors.py``.
"""

import ast
import re
import zlib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OUTPUT = Path("src/meshlib/xds/protos/descriptors.bin")
# What no package of the build brings, with the field numbers that the world knows it by.
OURS = Path("tools/protos")
SCALARS = {
    name.removeprefix("TYPE_").lower(): number for name, number in FieldDescriptorProto.Type.items()
}

ENVOY_ADMIN = ("certs", "clusters", "config_dump", "listeners", "server_info")
ENVOY_CONFIG = (
    "bootstrap/v3/bootstrap",
    "cluster/v3/cluster",
    "core/v3/base",
    "endpoint/v3/endpoint",
    "listener/v3/listener",
    "rbac/v3/rbac",
    "route/v3/route",
    "trace/v3/opentelemetry",
)
ENVOY_SERVICE = (
    "accesslog/v3/als",
    "auth/v3/external_auth",
    "cluster/v3/cds",
    "discovery/v3/ads",
    "discovery/v3/discovery",
    "endpoint/v3/eds",
    "endpoint/v3/leds",
    "extension/v3/config_discovery",
    "listener/v3/lds",
    "load_stats/v3/lrs",
    "ratelimit/v3/rls",
    "route/v3/rds",
    "runtime/v3/rtds",
    "secret/v3/sds",
    "status/v3/csds",
)
ENVOY_EXTENSIONS = (
    "access_loggers/file/v3/file",
    "access_loggers/filters/cel/v3/cel",
    "access_loggers/grpc/v3/als",
    "access_loggers/open_telemetry/v3/logs_service",
    "access_loggers/stream/v3/stream",
    "clusters/aggregate/v3/cluster",
    "clusters/dns/v3/dns_cluster",
    "filters/http/adaptive_concurrency/v3/adaptive_concurrency",
    "filters/http/admission_control/v3/admission_control",
    "filters/http/composite/v3/composite",
    "filters/http/cors/v3/cors",
    "filters/http/ext_authz/v3/ext_authz",
    "filters/http/fault/v3/fault",
    "filters/http/grpc_stats/v3/config",
    "filters/http/header_mutation/v3/header_mutation",
    "filters/http/jwt_authn/v3/config",
    "filters/http/local_ratelimit/v3/local_rate_limit",
    "filters/http/ratelimit/v3/rate_limit",
    "filters/http/rbac/v3/rbac",
    "filters/http/router/v3/router",
    "filters/http/stateful_session/v3/stateful_session",
    "filters/listener/http_inspector/v3/http_inspector",
    "filters/listener/original_dst/v3/original_dst",
    "filters/listener/tls_inspector/v3/tls_inspector",
    "filters/network/http_connection_manager/v3/http_connection_manager",
    "filters/network/rbac/v3/rbac",
    "filters/network/tcp_proxy/v3/tcp_proxy",
    "formatter/cel/v3/cel",
    "formatter/metadata/v3/metadata",
    "formatter/req_without_query/v3/req_without_query",
    "http/stateful_session/cookie/v3/cookie",
    "http/stateful_session/header/v3/header",
    "load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin",
    "load_balancing_policies/cluster_provided/v3/cluster_provided",
    "load_balancing_policies/common/v3/common",
    "load_balancing_policies/least_request/v3/least_request",
    "load_balancing_policies/maglev/v3/maglev",
    "load_balancing_policies/override_host/v3/override_host",
    "load_balancing_policies/pick_first/v3/pick_first",
    "load_balancing_policies/random/v3/random",
    "load_balancing_policies/ring_hash/v3/ring_hash",
    "load_balancing_policies/round_robin/v3/round_robin",
    "load_balancing_policies/wrr_locality/v3/wrr_locality",
    "matching/common_inputs/network/v3/network_inputs",
    "path/match/uri_template/v3/uri_template_match",
    "path/rewrite/uri_template/v3/uri_template_rewrite",
    "rbac/audit_loggers/stream/v3/stream",
    "rbac/principals/mtls_authenticated/v3/mtls_authenticated",
    "regex_engines/v3/google_re2",
    "retry/host/omit_canary_hosts/v3/omit_canary_hosts",
    "retry/host/previous_hosts/v3/previous_hosts",
    "retry/priority/previous_priorities/v3/previous_priorities_config",
    "transport_sockets/raw_buffer/v3/raw_buffer",
    "transport_sockets/tls/v3/tls",
    "transport_sockets/tls/v3/tls_spiffe_validator_config",
    "upstreams/http/v3/http_protocol_options",
)
OTHERS = (
    "envoy/data/accesslog/v3/accesslog",
    "envoy/type/matcher/v3/http_inputs",
    "google/protobuf/empty",
    "google/protobuf/field_mask",
    "google/rpc/status",
    "udpa/type/v1/typed_struct",
    "xds/data/orca/v3/orca_load_report",
    "xds/service/orca/v3/orca",
    "xds/type/matcher/v3/cel",
    "xds/type/matcher/v3/http_inputs",
    "xds/type/matcher/v3/ip",
    "xds/type/matcher/v3/matcher",
    "xds/type/v3/typed_struct",
)


class PackDescriptors(BuildHookInterface[Any]):
    """What hatchling calls before it makes a wheel, an editable one too."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel":
            pack(Path(self.root))


def pack(root: Path) -> Path:
    """Write the descriptor file of the checkout at ``root``; the same input, the same bytes."""
    packed = FileDescriptorSet(file=[*in_import_order(roots(), sources()), *ours(root / OURS)])
    target = root / OUTPUT
    target.parent.mkdir(parents=True, exist_ok=True)
    half_done = target.with_suffix(".tmp")
    half_done.write_bytes(zlib.compress(packed.SerializeToString(deterministic=True), 9))
    half_done.replace(target)  # at once: a process that runs on this checkout may be reading it
    return target


def roots() -> Iterator[str]:
    for folder, names in (
        ("envoy/admin/v3/", ENVOY_ADMIN),
        ("envoy/config/", ENVOY_CONFIG),
        ("envoy/service/", ENVOY_SERVICE),
        ("envoy/extensions/", ENVOY_EXTENSIONS),
        ("", OTHERS),
    ):
        for name in names:
            yield f"{folder}{name}.proto"


def ours(folder: Path) -> Iterator[FileDescriptorProto]:
    """Last: they may import anything from above."""
    for path in sorted(folder.rglob("*.proto")):
        text = path.read_text(encoding="utf-8")
        yield Proto3(text).file(path.relative_to(folder).as_posix())


class Proto3:
    """As much of the language as our own files need: fields, maps and enums.

    What the name of a type stands for is left to the pool, which knows the other files.
    """

    def __init__(self, text: str) -> None:
        self._words = iter(re.findall(r"[\w./]+|[^\w./\s\"]", text))

    def file(self, name: str) -> FileDescriptorProto:
        file = FileDescriptorProto(name=name)
        for word in self._words:
            if word == "message":
                self._message(file.message_type.add())
            elif word == "enum":
                self._enum(file.enum_type.add())
            else:
                self._head(file, [word, *self._statement()])
        return file

    def _statement(self) -> Iterator[str]:
        return iter(self._words.__next__, ";")

    def _head(self, file: FileDescriptorProto, words: list[str]) -> None:
        match words:
            case ["syntax", "=", syntax]:
                file.syntax = syntax
            case ["package", package]:
                file.package = package
            case ["import", imported]:
                file.dependency.append(imported)
            case _:
                raise SystemExit(f"{file.name}: {' '.join(words)}: not understood")

    def _message(self, message: DescriptorProto) -> None:
        message.name, _ = next(self._words), next(self._words)
        for word in iter(self._words.__next__, "}"):
            if word == "enum":
                self._enum(message.enum_type.add())
            else:
                field(message, [word, *self._statement()])

    def _enum(self, enum: EnumDescriptorProto) -> None:
        enum.name, _ = next(self._words), next(self._words)
        for name in iter(self._words.__next__, "}"):
            _, number = self._statement()
            enum.value.add(name=name, number=int(number))


def field(message: DescriptorProto, words: list[str]) -> None:
    match words:
        case ["map", "<", key, ",", value, ">", name, "=", number]:
            entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            field(entry, [key, "key", "=", "1"])
            field(entry, [value, "value", "=", "2"])
            field(message, ["repeated", entry.name, name, "=", number])
        case [*label, kind, name, "=", number] if label in ([], ["repeated"]):
            made = message.field.add(name=name, number=int(number))
            made.label = made.LABEL_REPEATED if label else made.LABEL_OPTIONAL
            if kind in SCALARS:
                made.type = SCALARS[kind]
            else:
                made.type_name = kind
        case _:
            raise SystemExit(f"{message.name}: {' '.join(words)}: not understood")


def sources() -> tuple[Distribution, ...]:
    try:
        return distribution("xds-protos"), distribution("protobuf")
    except PackageNotFoundError as missing:
        raise SystemExit(f"{missing.name} is needed to pack the descriptors") from missing


def in_import_order(
    names: Iterable[str], packages: tuple[Distribution, ...]
) -> tuple[FileDescriptorProto, ...]:
    """The named files and all they import, each after what it imports."""
    found: dict[str, FileDescriptorProto] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        file = descriptor(name, packages)
        for dependency in file.dependency:
            visit(dependency)
        found[name] = file

    for name in names:
        visit(name)
    return tuple(found.values())


def descriptor(name: str, packages: tuple[Distribution, ...]) -> FileDescriptorProto:
    module = name.removesuffix(".proto") + "_pb2.py"
    for package in packages:
        source = Path(str(package.locate_file(module)))
        if source.is_file():
            return FileDescriptorProto.FromString(embedded_bytes(source))
    raise SystemExit(f"no {name} in {', '.join(package.name for package in packages)}")


def embedded_bytes(module: Path) -> bytes:
    """What the generated module hands to ``AddSerializedFile``."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="AddSerializedFile"),
                args=[ast.Constant(value=bytes(serialized))],
            ):
                return serialized
            case _:
                pass
    raise SystemExit(f"no descriptor in {module}")


if __name__ == "__main__":
    written = pack(Path(__file__).parent.parent)
    print(f"{written}: {written.stat().st_size} bytes")
