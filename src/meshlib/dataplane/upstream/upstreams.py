"""All clusters of a configuration, prepared one by one: those that others are made of first."""

from collections.abc import Callable, Iterator, Mapping

from ...model import Cluster, ClusterLoadAssignment
from .aggregate import AggregateCluster
from .balance import Balance
from .cluster import UpstreamCluster

DEEPEST = 16
"""Aggregates inside of aggregates beyond this are left out (gRFC A37)."""

Kind = type[UpstreamCluster]
Balances = tuple[tuple[UpstreamCluster, Balance], ...]


def prepare_clusters(
    configs: Mapping[str, Cluster],
    known: Mapping[str, UpstreamCluster],
    assignment_of: Callable[[Cluster], ClusterLoadAssignment],
    make: Callable[[Kind, Cluster], UpstreamCluster],
) -> tuple[dict[str, UpstreamCluster], Balances]:
    """The live clusters by name, kept where they are ``known``, and the next balance of each."""
    found: dict[str, tuple[UpstreamCluster, Balance]] = {}
    for config in _children_first(configs):
        kind = AggregateCluster if config.children else UpstreamCluster
        live = known.get(config.name)
        if live is None or not live.suits(config) or type(live) is not kind:
            live = make(kind, config)
        if isinstance(live, AggregateCluster):
            children = [found[name] for name in config.children if name in found]
            balance = live.prepare_over(config, children)
        else:
            balance = live.prepare(config, assignment_of(config))
        found[config.name] = live, balance
    return {name: found[name][0] for name in configs}, tuple(found.values())


def _children_first(configs: Mapping[str, Cluster]) -> Iterator[Cluster]:
    """Each once. One that is made of itself lacks itself; one that does not exist is left out."""
    seen: set[str] = set()

    def walk(name: str, depth: int) -> Iterator[Cluster]:
        if name in seen or name not in configs or depth > DEEPEST:
            return
        seen.add(name)
        for child in configs[name].children:
            yield from walk(child, depth + 1)
        yield configs[name]

    for name in configs:
        yield from walk(name, 0)
