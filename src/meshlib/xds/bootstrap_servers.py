"""The servers of a bootstrap: addresses, credentials, features (gRFC A65, A71, A97)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from ._fields import Fields

CHANNEL_CREDS = ("insecure", "tls")
CALL_CREDS = ("jwt_token_file",)
FILE_WATCHER = "file_watcher"
SPEAKS_DELTA = "delta"
"""Our own server feature: the server speaks delta xDS, and we may as well."""
TRUSTED = "trusted_xds_server"

_FILES = ("ca_certificate_file", "certificate_file", "private_key_file")


@dataclass(frozen=True, slots=True)
class ChannelCreds:
    """``insecure`` or ``tls``; ``config`` is that of gRFC A65."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class CallCreds:
    """``jwt_token_file``; ``config`` is that of gRFC A97."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """``delta`` ``None``: as the server's features say. Equal servers share one stream.

    ``shown`` gives roots, key and certificate chain in PEM, for each connection anew, and raises
    :class:`ConfigError` while there are none; it stands in for ``channel_creds``.
    """

    server_uri: str
    channel_creds: ChannelCreds = ChannelCreds("insecure")
    call_creds: tuple[CallCreds, ...] = ()
    server_features: tuple[str, ...] = ()
    delta: bool | None = None
    shown: Callable[[], tuple[bytes, bytes, bytes]] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def is_secure(self) -> bool:
        return self.shown is not None or self.channel_creds.type != "insecure"

    @property
    def keeps_secrets(self) -> bool:
        """May keys come from it: is nobody between?"""
        return self.is_secure or is_local(self.server_uri)

    @property
    def speaks_delta(self) -> bool:
        return SPEAKS_DELTA in self.server_features if self.delta is None else self.delta

    @property
    def is_trusted(self) -> bool:
        """May it choose the authority of calls (gRFC A81)?"""
        return TRUSTED in self.server_features

    @property
    def token_file(self) -> str:
        """Of the token that goes with each call; "" is none."""
        known = (creds for creds in self.call_creds if creds.type in CALL_CREDS)
        return next((str(creds.config.get("jwt_token_file", "")) for creds in known), "")

    @property
    def ignored(self) -> tuple[str, ...]:
        return tuple(f"call_creds: {c.type}" for c in self.call_creds if c.type not in CALL_CREDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateProvider:
    """``file_watcher`` (gRFC A29): files that are read again every ``refresh_interval`` seconds."""

    plugin_name: str
    certificate_file: str = ""
    private_key_file: str = ""
    ca_certificate_file: str = ""
    refresh_interval: float = 600.0


def read_servers(fields: Fields) -> tuple[Server, ...]:
    return tuple(_server(each) for each in fields.objects("xds_servers"))


def _server(fields: Fields) -> Server:
    made = Server(
        server_uri=fields.required_text("server_uri"),
        channel_creds=_channel_creds(fields),
        call_creds=tuple(_call_creds(each) for each in fields.objects("call_creds")),
        server_features=fields.texts("server_features"),
    )
    if made.token_file and made.channel_creds.type == "insecure":
        fields.blame("call_creds", "a token goes over TLS only, and channel_creds are insecure")
    return made


def _channel_creds(fields: Fields) -> ChannelCreds:
    """The first type in the list that we can do, as gRPC picks it."""
    listed = fields.objects("channel_creds")
    for each in listed:
        if (kind := each.text("type")) in CHANNEL_CREDS:
            if kind == "tls":
                _certificates(each.child("config"))
            return ChannelCreds(kind, each.object("config"))
    names = ", ".join(each.text("type") or "(none)" for each in listed) or "nothing"
    fields.blame("channel_creds", f"lists {names}; supported are {' and '.join(CHANNEL_CREDS)}")
    return ChannelCreds("insecure")


def _call_creds(fields: Fields) -> CallCreds:
    """Types that are not known are for other clients."""
    kind = fields.text("type")
    if kind in CALL_CREDS:
        fields.child("config").required_text("jwt_token_file")
    return CallCreds(kind, fields.object("config"))


def read_providers(fields: Fields) -> dict[str, CertificateProvider]:
    return {name: _provider(fields.child(name)) for name in fields.names()}


def _provider(fields: Fields) -> CertificateProvider:
    plugin = fields.required_text("plugin_name")
    if plugin != FILE_WATCHER:
        return CertificateProvider(plugin_name=plugin)
    config = fields.child("config")
    files = _certificates(config)
    if not any(files.values()):
        config.blame("ca_certificate_file", "must be set, or certificate_file")
    return CertificateProvider(
        plugin_name=plugin, refresh_interval=config.seconds("refresh_interval", 600.0), **files
    )


def _certificates(config: Fields) -> dict[str, Any]:
    """The files of one's own certificate and of those that are trusted."""
    files = {name: config.text(name) for name in _FILES}
    if bool(files["certificate_file"]) != bool(files["private_key_file"]):
        missing = "private_key_file" if files["certificate_file"] else "certificate_file"
        config.blame(missing, "certificate_file and private_key_file go together")
    config.seconds("refresh_interval", 600.0)
    return files


def is_local(target: str) -> bool:
    """Does it stay on this machine? A name that is to be resolved is somebody else's word."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    address = target.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:")
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
