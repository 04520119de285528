"""Which configuration of a filter holds in a place."""

from meshlib.dataplane.filters.chain import effective
from meshlib.model import FilterOverride, GenericKey, GlobalRateLimit, HttpFilter, RateLimit

ASKED = GlobalRateLimit(domain="all", cluster="limits", failure_mode_deny=True)
LIMITS = (RateLimit(actions=(GenericKey(descriptor_value="x"),)),)


def held(*levels):
    """Of ``levels``, the most specific first."""
    overrides = [() if one is None else (FilterOverride(name="ask", config=one),) for one in levels]
    return effective(HttpFilter(name="ask", config=ASKED), overrides)


def test_a_rate_limit_without_a_service_asks_that_of_the_listener():
    config, depth = held(GlobalRateLimit(domain="", cluster="", rate_limits=LIMITS), None)
    assert config == GlobalRateLimit(
        domain="all", cluster="limits", failure_mode_deny=True, rate_limits=LIMITS
    )
    assert depth == 2


def test_a_rate_limit_with_a_service_stands_for_itself():
    own = GlobalRateLimit(domain="mine", cluster="others")
    assert held(own, None) == (own, 2)
