"""What callers are told of who serves them, for their metrics."""

from collections.abc import Mapping
from typing import Any

from ...model.workload import HERE, facts_of, packed
from ..manifests.manifest import Manifest

GROUP = "istio.io/autoRegistrationGroup"
"""What a workload that registered itself is one of: its own name says nothing."""


def described(manifest: Manifest[Any], labels: Mapping[str, str]) -> str:
    """As istiod tells it; "" of a place of which only the address is known."""
    is_workload = manifest.kind == "WorkloadEntry"
    if not (labels or is_workload):
        return ""
    name = manifest.annotations.get(GROUP, manifest.name) if is_workload else ""
    return packed(facts_of(labels, workload=name, namespace=manifest.namespace, cluster=HERE))
