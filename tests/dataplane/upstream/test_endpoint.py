from meshlib.dataplane.upstream.endpoint import SHUN_BASE, SHUN_MAX, UpstreamEndpoint
from meshlib.model import Address, Endpoint


def test_who_is_never_reached_is_left_alone_for_longer_and_longer_up_to_a_limit() -> None:
    endpoint = UpstreamEndpoint(
        Endpoint(address=Address("1.1.1.1", 80)), http2=False, connect_timeout=1.0
    )
    waits = []
    for _ in range(5000):
        endpoint.connect_failed(lambda: 0.0)
        waits.append(endpoint.shunned_until)
    assert waits[:2] == [SHUN_BASE, SHUN_BASE * 1.6]
    assert waits == sorted(waits)
    assert waits[-1] == SHUN_MAX
