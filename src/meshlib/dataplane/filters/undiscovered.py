"""A filter whose configuration is to come by ECDS, and did not."""

from ...model import FilterDiscovery
from ..events import CallRecord
from ..message import Cause, Outcome, Request
from ..steps import Steps
from .chain import FACTORIES, Filter, Service, Site
from .local_reply import local_reply

UNAVAILABLE = 14


def undiscovered(_: FilterDiscovery, site: Site) -> Filter:
    """Refuses calls, as nobody knows whether the filter would let them pass."""
    cause, words = Cause.NO_FILTER_CONFIG, f"no configuration for filter {site.place[-1]!r}"

    def refuse(request: Request, record: CallRecord, _: Service) -> Steps[Outcome]:
        return local_reply(request, record, cause, 500, words, grpc_status=UNAVAILABLE)

    return refuse


FACTORIES[FilterDiscovery] = undiscovered
