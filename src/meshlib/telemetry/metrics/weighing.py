"""How endpoints are weighed by their load, in gRPC's own metrics (gRFC A78, A89)."""

from collections.abc import Iterator, Sequence

from ...dataplane.upstream.pickers import WEIGHTS, Weighing
from ...exposition import Distribution, Kind, Labels, Metric, Sample
from .xds import TARGET

WRR, BACKEND = "grpc.lb.wrr", "grpc.lb.backend_service"


def weighing_metrics(found: Sequence[tuple[str, Weighing]]) -> Iterator[Metric]:
    """By cluster. Whatever is called from here to a cluster shares its weights."""
    told: list[tuple[Labels, Weighing]] = [
        ((TARGET, (BACKEND, name)), weighing) for name, weighing in found
    ]
    text = "Times that too few endpoints had a weight, so that all got the same."
    samples = [Sample(labels, one.fallbacks) for labels, one in told]
    yield Metric(f"{WRR}.rr_fallback", Kind.COUNTER, text, samples, "{update}")
    text = "Endpoints without a weight yet, each time that weights were reckoned."
    samples = [Sample(labels, one.unusable) for labels, one in told]
    yield Metric(f"{WRR}.endpoint_weight_not_yet_usable", Kind.COUNTER, text, samples, "{endpoint}")
    text = "Endpoints whose weight was too old, each time that weights were reckoned."
    samples = [Sample(labels, one.stale) for labels, one in told]
    yield Metric(f"{WRR}.endpoint_weight_stale", Kind.COUNTER, text, samples, "{endpoint}")
    text = "Weights of endpoints, 0 where there is none, each time that they were reckoned."
    spread = [
        Sample(labels, Distribution(WEIGHTS, tuple(one.weights), one.total)) for labels, one in told
    ]
    yield Metric(f"{WRR}.endpoint_weights", Kind.HISTOGRAM, text, spread, "{weight}")
