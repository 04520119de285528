"""A decision in words: the rules that were tried, and what would happen."""

from collections.abc import Iterator

from ..dataplane import Decision, Request
from ..model import LogicalDns, RetryPolicy, Snapshot, Static, StrictDns


def rules_of(decision: Decision) -> Iterator[tuple[str, str, str, str]]:
    """Number, source, rule and outcome of each, in the order in which they were tried."""
    for number, tried in enumerate(decision.trace, 1):
        outcome = f"{tried.outcome}: {tried.reason}" if tried.reason else tried.outcome
        yield str(number), tried.source, tried.rule, outcome


def facts_of(decision: Decision, snapshot: Snapshot, request: Request) -> Iterator[tuple[str, str]]:
    if decision.error:
        yield "error", decision.error
    if decision.virtual_host:
        yield "host", decision.virtual_host
    if decision.response is not None:
        answer = decision.response
        yield "response", f"{answer.status} {answer.body}".strip()
        for name, value in answer.headers:
            yield "", f"{name}: {value}"
        return
    total = sum(choice.weight for choice in decision.clusters) or 1
    for choice in decision.clusters:
        share = f"  {100 * choice.weight / total:g} %" if len(decision.clusters) > 1 else ""
        source = _source(snapshot, choice.cluster)
        yield "cluster", f"{choice.cluster}{share}{source}"
        yield "endpoints", ", ".join(_endpoints(snapshot, choice.cluster)) or "none"
    if decision.cluster and not decision.clusters:
        yield "cluster", f"{decision.cluster} (sent as it is, by DNS)"
    if decision.cluster:
        limit = "none" if decision.timeout is None else f"{decision.timeout:g} s"
        yield "policy", f"timeout {limit}  retries {_retries(decision.retry_policy)}"
    if decision.path != request.path:
        yield "path", decision.path
    if decision.authority != (request.authority or request.target):
        yield "authority", decision.authority
    for name, value in decision.request_headers:
        if (name, value) not in request.headers:
            yield "header", f"{name}: {value}"
    yield from _beside(decision)


def _beside(decision: Decision) -> Iterator[tuple[str, str]]:
    """What else happens to such a call, and to its answer."""
    if decision.filters:
        yield "filters", ", ".join(name.rpartition(".")[2] for name in decision.filters)
    for copy in decision.mirrors:
        yield "copy", f"{copy.cluster}  {100 * copy.share:g} %"
    for name, value in decision.response_headers:
        yield "answer", f"{name}: {value}"


def _source(snapshot: Snapshot, name: str) -> str:
    cluster = snapshot.clusters.get(name)
    source = cluster.metadata.source if cluster is not None else ""
    return f"  ({source})" if source else ""


def _retries(policy: RetryPolicy | None) -> str:
    if policy is None or not policy.num_retries:
        return "none"
    each = f", {policy.per_try_timeout:g} s each" if policy.per_try_timeout else ""
    return f"{policy.num_retries} on {','.join(policy.retry_on) or 'nothing'}{each}"


def _endpoints(snapshot: Snapshot, name: str) -> Iterator[str]:
    cluster = snapshot.clusters.get(name)
    if cluster is None:
        return
    match cluster.discovery:
        case Static(assignment) | StrictDns(assignment) | LogicalDns(assignment):
            found = assignment
        case _:
            eds = snapshot.endpoints.get(cluster.load_assignment_name or "")
            if eds is None:
                return
            found = eds
    for group in found.endpoints:
        for endpoint in group.lb_endpoints:
            weight = endpoint.load_balancing_weight
            health = endpoint.health_status.value.lower()
            marks = [f"w{weight}"] * (weight != 1) + [health] * (health != "unknown")
            yield " ".join([str(endpoint.address), *marks])
