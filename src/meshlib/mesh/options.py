"""What a :class:`meshlib.Mesh` was asked to be, from arguments and environment."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, Problem
from ..identity.credentials import IdentityError
from ..identity.spiffe import SpiffeId
from ..model import Locality
from .admin_options import admin_options
from .environment import unheard
from .propagated import propagated
from .start_policy import MAX_AGE, start_policy

log = logging.getLogger("meshlib")

MTLS_MODES = ("auto", "strict", "off")
SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:")
OUTBOUND_POLICIES = ("ALLOW_ANY", "REGISTRY_ONLY")

Config = str | Path | Sequence[Mapping[str, Any]] | Sequence[str | Path]
Bootstrap = str | Path | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """At most one of ``config``, ``control_plane`` and ``bootstrap`` is set.

    ``metrics`` ``None``: wanted where somebody reads them. ``trusted_gateways``: the SPIFFE ids
    whose ``x-forwarded-*`` headers are believed.
    """

    service: str = ""
    namespace: str = "default"
    version: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    config: Config | None = None
    control_plane: str | None = None
    bootstrap: Bootstrap | None = None
    mtls: str = "auto"
    outbound_traffic_policy: str | None = None
    propagate: tuple[str, ...] = ()
    propagate_deadlines: bool = True
    locality: Locality = Locality()
    last_known_good: Path | None = None
    last_known_good_max_age: float = MAX_AGE
    on_no_config: str = "wait"
    runtime_layers: tuple[str, ...] = ()
    trusted_gateways: tuple[str, ...] = ()
    admin: str = ""
    admin_token: str = field(default="", repr=False)
    metrics: bool | None = None
    unheard: tuple[str, ...] = ()

    @property
    def all_labels(self) -> dict[str, str]:
        """The workload's labels, with Istio's ``app`` and ``version`` where they are known."""
        named = {"app": self.service, "version": self.version}
        return {name: value for name, value in named.items() if value} | dict(self.labels)

    @property
    def without_effect(self) -> tuple[str, ...]:
        """What is for those only who have a control plane, or for nobody, ``place: what``."""
        if self.control_plane is not None or self.bootstrap is not None:
            return self.unheard
        said = {
            "last_known_good": self.last_known_good,
            "on_no_config": self.on_no_config not in ("wait", "last_good"),
            "runtime_layers": self.runtime_layers,
        }
        why = "there is no control plane, so it has no effect"
        return (*self.unheard, *(f"Mesh: {name}: {why}" for name, is_set in said.items() if is_set))


def options(  # noqa: PLR0913 - mirrors the constructor of Mesh
    *,
    service: str | None,
    namespace: str | None,
    version: str | None,
    labels: Mapping[str, str] | None,
    config: Config | None,
    control_plane: str | None,
    bootstrap: Bootstrap | None,
    mtls: str | None,
    outbound_traffic_policy: str | None,
    propagate: Sequence[str],
    propagate_deadlines: bool = True,
    locality: str | None = None,
    last_known_good: str | Path | None = None,
    last_known_good_max_age: float | None = None,
    on_no_config: str | None = None,
    runtime_layers: Sequence[str] = (),
    trusted_gateways: Sequence[str] = (),
    admin: str | None = None,
    metrics: bool | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Options:
    """Arguments win over environment; an explicit source silences the environment's.

    Raises :class:`ConfigError` for two sources at once, and for what has not the form it needs.
    """
    sources = {"config": config, "control_plane": control_plane, "bootstrap": bootstrap}
    if not _is_one_given(sources):
        config, control_plane, bootstrap = _source_of(environ)
    chosen = Options(
        service=service or environ.get("MESHLIB_SERVICE") or environ.get("OTEL_SERVICE_NAME") or "",
        namespace=namespace or environ.get("MESHLIB_NAMESPACE") or "default",
        version=version or environ.get("MESHLIB_VERSION") or "",
        labels=_labels(labels),
        config=config,
        control_plane=control_plane,
        bootstrap=bootstrap,
        mtls=mtls or environ.get("MESHLIB_MTLS") or "auto",
        outbound_traffic_policy=outbound_traffic_policy,
        propagate=propagated(propagate),
        propagate_deadlines=propagate_deadlines,
        locality=locality_of(locality or environ.get("MESHLIB_LOCALITY") or ""),
        runtime_layers=_layers(runtime_layers, environ),
        trusted_gateways=_gateways(trusted_gateways, environ),
        **start_policy(last_known_good, last_known_good_max_age, on_no_config, environ),
        **admin_options(admin, metrics, environ),
        unheard=unheard(environ),
    )
    return _checked(chosen)


def _is_one_given(sources: Mapping[str, object]) -> bool:
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        said = f"give one of {', '.join(sources)}, not {' and '.join(given)}"
        raise ConfigError(Problem("Mesh", said))
    return bool(given)


def _source_of(
    environ: Mapping[str, str],
) -> tuple[Config | None, str | None, Bootstrap | None]:
    """The environment's source: its first in the order of the argument list."""
    if environ.get("MESHLIB_CONFIG"):
        return environ["MESHLIB_CONFIG"], None, None
    if environ.get("MESHLIB_CONTROL_PLANE"):
        return None, environ["MESHLIB_CONTROL_PLANE"], None
    text = environ.get("GRPC_XDS_BOOTSTRAP") or environ.get("GRPC_XDS_BOOTSTRAP_CONFIG")
    return None, None, text or None


def _checked(chosen: Options) -> Options:
    _check_source(chosen)
    if chosen.mtls not in MTLS_MODES:
        raise ConfigError(Problem("Mesh: mtls", f"{chosen.mtls!r} is none of {MTLS_MODES}"))
    policy = chosen.outbound_traffic_policy
    if policy is not None and policy not in OUTBOUND_POLICIES:
        known = ", ".join(OUTBOUND_POLICIES)
        raise ConfigError(
            Problem("Mesh: outbound_traffic_policy", f"{policy!r} is none of {known}")
        )
    if policy == "REGISTRY_ONLY" and chosen.on_no_config == "direct":
        said = "'direct' calls hosts that nothing is known of, and REGISTRY_ONLY forbids that"
        raise ConfigError(Problem("Mesh: on_no_config (MESHLIB_ON_NO_CONFIG)", said))
    for said in chosen.unheard:
        log.warning("%s", said)
    return chosen


def locality_of(text: str) -> Locality:
    """``region/zone/sub_zone``, as Istio writes it; what is left out is empty."""
    parts = text.split("/")
    if len(parts) > 3 or (text and not parts[0]):
        said = f"{text!r} is not region/zone/sub_zone"
        raise ConfigError(Problem("Mesh: locality (MESHLIB_LOCALITY)", said))
    return Locality(*parts)


def _layers(given: Sequence[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ConfigError(Problem("Mesh: runtime_layers", f"a list is needed, not {given!r}"))
    for each in given:
        if not isinstance(each, str):
            raise ConfigError(Problem("Mesh: runtime_layers", f"{each!r} is not a name"))
    named = given or environ.get("MESHLIB_RUNTIME_LAYERS", "").split(",")
    return tuple(name.strip() for name in named if name.strip())


def _gateways(given: Sequence[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    named = given or environ.get("MESHLIB_TRUSTED_GATEWAYS", "").split(",")
    try:
        return tuple(str(SpiffeId.parse(name.strip())) for name in named if name.strip())
    except IdentityError as error:
        where = "Mesh: trusted_gateways (MESHLIB_TRUSTED_GATEWAYS)"
        raise ConfigError(Problem(where, str(error))) from None


def _labels(labels: object) -> tuple[tuple[str, str], ...]:
    if labels is None:
        return ()
    if not isinstance(labels, Mapping):
        raise ConfigError(Problem("Mesh: labels", f"a mapping is needed, not {labels!r}"))
    return tuple(sorted(labels.items()))


def _check_source(chosen: Options) -> None:
    if chosen.config is not None and not _is_config(chosen.config):
        needed = "a folder, a file, a list of these, or a list of manifests as mappings"
        raise ConfigError(Problem("Mesh: config", f"{chosen.config!r:.200} is not {needed}"))
    if chosen.control_plane is not None and not _is_target(chosen.control_plane):
        said = f"{chosen.control_plane!r} is not host:port, such as '127.0.0.1:18000'"
        raise ConfigError(Problem("Mesh: control_plane (MESHLIB_CONTROL_PLANE)", said))
    if not isinstance(chosen.bootstrap, str | Path | Mapping | None):
        said = f"{chosen.bootstrap!r:.200} is neither a path nor a mapping"
        raise ConfigError(Problem("Mesh: bootstrap", said))


def _is_config(config: object) -> bool:
    if isinstance(config, str | Path):
        return True
    if not isinstance(config, Sequence) or isinstance(config, bytes):
        return False
    mappings = sum(isinstance(item, Mapping) for item in config)
    paths = sum(isinstance(item, str | Path) for item in config)
    return len(config) in (mappings, paths)


def _is_target(target: object) -> bool:
    """``host:port``, or a name that gRPC resolves by another scheme."""
    if not isinstance(target, str) or target.startswith(("http:", "https:", "xds:")):
        return False
    host, _, port = target.rpartition(":")
    if target.startswith(SCHEMES):
        return True
    return bool(host) and "/" not in host and _is_port(port)


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) <= 65535
