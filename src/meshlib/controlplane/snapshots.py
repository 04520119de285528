"""World → Snapshot, EnvoyFilters and all."""

from dataclasses import replace

from ..model import Snapshot
from .compile import Compiler, version_of
from .scope import Scope
from .world import World


def compile_snapshot(world: World, scope: Scope) -> Snapshot:
    """Everything that the scope sees, complete in itself; its version is a hash of the content."""
    made = resources_of(world, scope, Compiler())
    return replace(made, version=version_of(made))


def resources_of(world: World, scope: Scope, compiler: Compiler) -> Snapshot:
    """The same without a version, which costs a third of it all: a cache gives its own."""
    made = compiler.snapshot_of(world, scope)
    if world.envoy_filters:
        from .envoy_filters import patched  # needs protobuf, which a mesh without patches does not

        made = patched(made, world, scope)
    return made
