"""What several commands need of a folder of manifests."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..controlplane import Scope, World
    from ..model import Locality


def _locality(ctx: click.Context, parameter: click.Parameter, value: str | None) -> "Locality":
    from ..mesh.options import locality_of

    try:
        return locality_of(value or "")
    except ConfigError as error:
        raise click.BadParameter(f"{value!r} is not region/zone/sub_zone") from error


locality_option = click.option(
    "--locality",
    envvar="MESHLIB_LOCALITY",
    metavar="PLACE",
    callback=_locality,
    help="Where the caller stands: region/zone/sub_zone.",
)


def load(config: Path) -> "World":
    """Read the manifests; raises :class:`ConfigError` if the control plane would refuse them."""
    from ..controlplane import errors_of, load_files

    world = load_files([config])
    errors = errors_of(world)
    if errors:
        raise ConfigError(*errors)
    return world


def scope_of(world: "World", name: str | None, locality: "Locality") -> "Scope":
    """Where ``service``, ``service.namespace`` or ``namespace/service`` stands.

    Its labels are those that the Service of that name selects, else ``app`` alone.
    """
    from ..controlplane import Scope

    if not name:
        return Scope(locality=locality)
    if "/" in name:
        namespace, _, service = name.partition("/")
    else:
        service, _, rest = name.partition(".")
        namespace = rest.partition(".")[0]
    namespace = namespace or "default"
    labels: Mapping[str, str] = {"app": service}
    for manifest in world.services:
        if (manifest.name, manifest.namespace) == (service, namespace):
            labels = manifest.spec.selector or labels
    return Scope(namespace=namespace, labels=tuple(sorted(labels.items())), locality=locality)
