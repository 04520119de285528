"""What of telemetry an Envoy cannot take is left out, and told."""

from meshlib.controlplane.node import ClientKind
from meshlib.controlplane.profiles import adapt
from meshlib.model import Address, HttpConnectionManager, Listener, Rds, RouteConfiguration, gather
from meshlib.model.telemetry import CustomTag, FormatterTag, OpenTelemetryTracer, Tracing


def tag(name, text):
    return CustomTag(tag=name, source=FormatterTag(value=text))


def for_envoy(*tags):
    """The tags that are left, and what is said of the others."""
    tracing = Tracing(custom_tags=tags, tracer=OpenTelemetryTracer(cluster="otel"))
    http = HttpConnectionManager(routes=Rds("table"), tracing=tracing)
    listener = Listener(name="reviews", http=http, address=Address("127.0.0.1", 80))
    table = RouteConfiguration(name="table")
    told = []
    made = adapt(gather(listeners=[listener], routes=[table]), ClientKind.ENVOY, told.append)
    left = made.listeners["reviews"].http.tracing
    assert left is not None
    return left.custom_tags, [str(one) for one in told]


def test_tags_of_envoy_have_the_operators_that_it_always_knows():
    plain = tag("a", "%REQ(:PATH)%")
    assert for_envoy(plain) == ((plain,), [])


def test_a_tag_with_another_operator_is_left_out_and_told():
    plain, other = tag("a", "%DURATION%"), tag("b", "%CEL(request.host)%")
    left, told = for_envoy(plain, other)
    assert left == (plain,)
    assert told == ["listeners/reviews: tag 'b' has an operator that Envoy's tags have not"]
