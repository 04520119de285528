"""Aggregate clusters: the priorities of other clusters, one after the other (gRFC A37)."""

from collections.abc import Collection, Iterable, Sequence

from ...model import Cluster, ClusterLoadAssignment
from ...model.load import LoadReport
from ..message import Outcome
from .balance import Balance
from .cluster import UpstreamCluster
from .endpoint import UpstreamEndpoint
from .pickers import Picker

Child = tuple[UpstreamCluster, Balance]


class AggregateCluster(UpstreamCluster):
    """Inside a priority the policy of the cluster that it belongs to decides, and that cluster
    hears how calls went, since the endpoints are its own.

    ``endpoint.priority`` counts as the aggregate does.
    """

    __slots__ = ()

    def prepare_over(self, config: Cluster, children: Sequence[Child]) -> Balance:
        """As :meth:`prepare`, from the prepared balances of the children in their order."""
        current = self.balance
        ranks = tuple(rank for _, balance in children for rank in balance.ranks)
        if (current.config, current.ranks) == (config, ranks) and ranks:
            return current
        owners: dict[UpstreamEndpoint, UpstreamCluster] = {}
        live: dict[str, UpstreamEndpoint] = {}
        for cluster, balance in children:
            for endpoint in balance.endpoints.values():
                owners.setdefault(endpoint, balance.owners.get(endpoint, cluster))
                live.setdefault(endpoint.key, endpoint)
        empty = ClusterLoadAssignment(cluster_name=config.name)
        leaves = tuple(dict.fromkeys(owners.values()))
        bare = Balance(config, empty, live, ranks, _revision(leaves), owners, leaves)
        return self._balancer.balanced(bare, current)

    def revision(self, balance: Balance) -> int:
        return _revision(balance.leaves)

    def _detect(self, config: Cluster) -> bool:
        """Each cluster watches its own endpoints."""
        return False

    def _take_over(self, balance: Balance) -> None:
        for priority, rank in enumerate(balance.ranks):
            for member in rank.members:
                member.endpoint.priority = priority

    def _note_since(self, balance: Balance) -> None:
        """The clusters do that, whose endpoints they are."""

    def _by_priority(self, hash_key: int | None, spared: Collection[int]) -> Picker | None:
        for leaf in self.balance.leaves:
            leaf.sweep()
        if self.balance.revision != self.revision(self.balance):
            self.rebalance()
        return super()._by_priority(hash_key, spared)

    def leaf(self, endpoint: UpstreamEndpoint) -> UpstreamCluster:
        return self.balance.owners.get(endpoint, self)

    def observe(self, endpoint: UpstreamEndpoint, outcome: Outcome) -> None:
        owner = self.balance.owners.get(endpoint)
        if owner is None:
            super().observe(endpoint, outcome)
        else:
            owner.observe(endpoint, outcome)

    def observe_load(self, endpoint: UpstreamEndpoint, report: LoadReport) -> None:
        owner = self.balance.owners.get(endpoint)
        if owner is not None:
            owner.observe_load(endpoint, report)


def _revision(leaves: Iterable[UpstreamCluster]) -> int:
    return sum(leaf.revision(leaf.balance) for leaf in leaves)
