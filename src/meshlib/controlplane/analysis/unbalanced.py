"""Hosts whose endpoints nobody chooses: what has no effect on calls that go where they say."""

from collections.abc import Iterator, Sequence

from ..compile.services import MeshService
from ..manifests.traffic_policy import PortTrafficPolicy, TrafficPolicy
from ..manifests.virtual_service import HTTPRoute
from .policies import Remark

WHY = "{} {} no effect: calls go where the caller says, and once (resolution: NONE)"


def is_unbalanced(services: Sequence[MeshService]) -> bool:
    return bool(services) and all(service.resolution == "NONE" for service in services)


def remarks_of_policy(policy: TrafficPolicy | PortTrafficPolicy) -> Iterator[Remark]:
    balancer = policy.load_balancer
    said = {
        "loadBalancer": balancer is not None and balancer.simple != "PASSTHROUGH",
        "connectionPool": policy.connection_pool is not None,
        "outlierDetection": policy.outlier_detection is not None,
        "retryBudget": isinstance(policy, TrafficPolicy) and policy.retry_budget is not None,
    }
    for field, is_said in said.items():
        if is_said:
            yield (field,), WHY.format(field, "has")


def remarks_of_rule(route: HTTPRoute) -> Iterator[Remark]:
    if route.retries is not None and route.retries.attempts:
        yield ("retries",), WHY.format("retries", "have")
    if route.mirror is not None:
        yield ("mirror",), WHY.format("mirror", "has")
    if route.mirrors:
        yield ("mirrors",), WHY.format("mirrors", "have")
