"""``envoy.config.rbac.v3.Permission`` and ``Principal`` ⇄ :class:`Rule`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ...errors import ConfigError
from ...model.rbac import (
    AndRules,
    AnyRule,
    Authenticated,
    CidrRange,
    DestinationIp,
    DestinationPort,
    DestinationPortRange,
    DirectRemoteIp,
    HeaderRule,
    MetadataRule,
    NotRule,
    OrRules,
    RemoteIp,
    RequestedServerName,
    Rule,
    UriTemplate,
    UrlPath,
)
from ...model.uri_template import TemplateError, parse_template
from .matcher import decode_header, encode_header
from .metadata_matcher import decode_metadata_matcher, encode_metadata_matcher
from .string_matcher import decode_string, encode_string
from .wire import Fields, Reader, packed, wrapped

MOST_PORT = 65535
TEMPLATE = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
TEMPLATE_NAME = "envoy.path.match.uri_template.uri_template_matcher"


@dataclass(frozen=True, slots=True)
class Word:
    """A field, the rule that it stands for, and the way there and back."""

    field: str
    kind: type[Rule]
    encode: Callable[[Any], Any]
    decode: Callable[[Reader, str], Rule]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words for rules: of sets and their members, of what is not so, and of single facts."""

    all_of: str
    any_of: str
    members: str
    negated: str
    facts: Mapping[type[Rule], Word]
    heard: Mapping[str, Word]
    """As ``facts``, by field; with those that are only understood."""
    unsupported: tuple[str, ...]

    def encode(self, rule: Rule) -> Fields:
        match rule:
            case AnyRule():
                return {"any": True}
            case AndRules(rules):
                return {self.all_of: {self.members: [self.encode(one) for one in rules]}}
            case OrRules(rules):
                return {self.any_of: {self.members: [self.encode(one) for one in rules]}}
            case NotRule(inner):
                return {self.negated: self.encode(inner)}
            case _:
                return self._encode_fact(rule)

    def _encode_fact(self, rule: Rule) -> Fields:
        word = self.facts.get(type(rule))
        if word is None:
            raise ConfigError(f"rbac: {type(rule).__name__} cannot be one of {self.members}")
        return {word.field: word.encode(rule)}

    def decode(self, reader: Reader) -> Rule:
        field = reader.which("any", self.all_of, self.any_of, self.negated, *self.heard)
        if field in self.heard:
            return self.heard[field].decode(reader, field)
        if field == self.negated:
            return NotRule(self.decode(reader.child(field)))
        if field == self.all_of:
            return AndRules(self._members(reader.child(field)))
        if field == self.any_of:
            return OrRules(self._members(reader.child(field)))
        if not field:
            reader.refuse(*self.unsupported, otherwise="no rule that is understood")
        elif not reader.flag(field):
            reader.problem("must be true", field)
        return AnyRule()

    def _members(self, reader: Reader) -> tuple[Rule, ...]:
        members = reader.children(self.members)
        if not members:
            reader.problem("must not be empty", self.members)
        return tuple(map(self.decode, members))


def _encode_range(rule: DestinationIp | DirectRemoteIp | RemoteIp) -> Fields:
    prefix, length = rule.range.address_prefix, rule.range.prefix_len
    return {"address_prefix": prefix, "prefix_len": wrapped(length)}


def _decode_range(reader: Reader) -> CidrRange:
    prefix = reader.text("address_prefix", required=True)
    try:
        # A zone is of one machine alone.
        most = 0 if "%" in prefix else ip_address(prefix).max_prefixlen
    except ValueError:
        most = 0
    if prefix and not most:
        reader.problem(f"{prefix!r} is not an IP address", "address_prefix")
    return CidrRange(prefix, reader.number("prefix_len", high=most or None))


def _in_range(field: str, kind: type[DestinationIp | DirectRemoteIp | RemoteIp]) -> Word:
    return Word(field, kind, _encode_range, lambda r, f: kind(_decode_range(r.child(f))))


def _decode_ports(reader: Reader, field: str) -> Rule:
    limits = reader.child(field)
    start = limits.number("start", high=MOST_PORT)
    end = limits.number("end", high=MOST_PORT + 1)
    if start >= end:
        limits.problem(f"must be more than the start, is {end}", "end")
    return DestinationPortRange(start, end)


def _decode_metadata(reader: Reader, field: str) -> Rule:
    return MetadataRule(decode_metadata_matcher(reader.child(field)))


def _decode_sourced(reader: Reader, field: str) -> Rule:
    sourced = reader.child(field)
    if sourced.enum("metadata_source") != "DYNAMIC":
        sourced.problem("only DYNAMIC is supported", "metadata_source")
    return _decode_metadata(sourced, "metadata_matcher")


def _decode_path(reader: Reader, field: str) -> Rule:
    return UrlPath(decode_string(reader.child(field).child("path")))


def _encode_template(rule: UriTemplate) -> Fields:
    config = packed(TEMPLATE, {"path_template": rule.path_template})
    return {"name": TEMPLATE_NAME, "typed_config": config}


def _decode_template(reader: Reader, field: str) -> Rule:
    extension = reader.child(field)
    extension.skip("name")
    type_name, config = extension.extension("typed_config")
    if type_name != TEMPLATE or config is None:
        extension.problem(f"must be a {TEMPLATE}, not {type_name or 'nothing'}", "typed_config")
        return UriTemplate("/")
    template = config.text("path_template")
    try:
        parse_template(template)
    except TemplateError as error:
        config.problem(str(error), "path_template")
    return UriTemplate(template)


def _encode_authenticated(rule: Authenticated) -> Fields:
    name = rule.principal_name
    return {"principal_name": None if name is None else encode_string(name)}


def _decode_authenticated(reader: Reader, field: str) -> Rule:
    name = reader.child(field).optional_child("principal_name")
    return Authenticated(None if name is None else decode_string(name))


IN_BOTH = (
    Word(
        "header",
        HeaderRule,
        lambda rule: encode_header(rule.header),
        lambda r, field: HeaderRule(decode_header(r.child(field))),
    ),
    Word("url_path", UrlPath, lambda rule: {"path": encode_string(rule.path)}, _decode_path),
    Word(
        "metadata",
        MetadataRule,
        lambda rule: encode_metadata_matcher(rule.metadata),
        _decode_metadata,
    ),
)
OF_PERMISSIONS = (
    *IN_BOTH,
    Word("uri_template", UriTemplate, _encode_template, _decode_template),
    _in_range("destination_ip", DestinationIp),
    Word(
        "destination_port",
        DestinationPort,
        lambda rule: rule.port,
        lambda r, field: DestinationPort(r.number(field, high=MOST_PORT)),
    ),
    Word(
        "destination_port_range",
        DestinationPortRange,
        lambda rule: {"start": rule.start, "end": rule.end},
        _decode_ports,
    ),
    Word(
        "requested_server_name",
        RequestedServerName,
        lambda rule: encode_string(rule.name),
        lambda r, field: RequestedServerName(decode_string(r.child(field))),
    ),
)
OF_PRINCIPALS = (
    *IN_BOTH,
    Word("authenticated", Authenticated, _encode_authenticated, _decode_authenticated),
    _in_range("direct_remote_ip", DirectRemoteIp),
    _in_range("remote_ip", RemoteIp),
)
# Deprecated; the address of the peer itself, as nothing here speaks the proxy protocol.
SOURCE_IP = _in_range("source_ip", DirectRemoteIp)
SOURCED = Word("sourced_metadata", MetadataRule, IN_BOTH[-1].encode, _decode_sourced)

PERMISSION = Vocabulary(
    all_of="and_rules",
    any_of="or_rules",
    members="rules",
    negated="not_rule",
    facts={word.kind: word for word in OF_PERMISSIONS},
    heard={word.field: word for word in (*OF_PERMISSIONS, SOURCED)},
    unsupported=("matcher",),
)
PRINCIPAL = Vocabulary(
    all_of="and_ids",
    any_of="or_ids",
    members="ids",
    negated="not_id",
    facts={word.kind: word for word in OF_PRINCIPALS},
    heard={word.field: word for word in (*OF_PRINCIPALS, SOURCE_IP, SOURCED)},
    unsupported=("filter_state", "custom"),
)
