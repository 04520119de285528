"""What filters of a listener discover (ECDS), and what they do without."""

from ..model import ExtensionConfig, FilterDiscovery
from .watches import Entry, ResourceState


def found(entry: Entry, discovery: FilterDiscovery) -> ExtensionConfig | None:
    """What the filter is to use of what is known.

    A configuration that was taken back gives way to the default; without one it stays in use.
    """
    known: ExtensionConfig | None = entry.resource
    if known is None or not isinstance(known.config, discovery.types):
        return None
    is_gone = entry.state is ResourceState.DOES_NOT_EXIST
    return None if is_gone and discovery.default_config is not None else known


def goes_without(
    entry: Entry, discovery: FilterDiscovery, *, serving: bool, passing_error: bool
) -> bool:
    """Is there no reason to wait? Then the default holds, or else calls are refused.

    Where an older listener serves, a configuration that never was there is worth waiting for.
    """
    if discovery.default_config is None:
        if serving:
            return entry.is_known_failed and entry.updated is not None
        return entry.is_known_failed or entry.resource is not None
    if discovery.apply_default_config_without_warming or entry.is_known_failed:
        return True
    if entry.state is ResourceState.DOES_NOT_EXIST:
        return True
    return not serving and (passing_error or entry.resource is not None)
