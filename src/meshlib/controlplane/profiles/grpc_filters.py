"""HTTP filters as stock gRPC takes them: faults and access control (gRFCs A33, A39, A41)."""

from dataclasses import replace

from ...model import Fault, FilterOverride, HttpFilter, Overrides, Router
from ...model.authn import ExtAuthz, JwtAuthn
from ...model.rbac import Rbac
from .downgrade import Downgrade, Report
from .grpc_access import NOBODY, grpc_access

OFF = Fault()
LEFT_OUT = "left out for gRPC clients"
GUARDS = (JwtAuthn, ExtAuthz)
"""To leave one of these out would let somebody in."""


def grpc_filters(
    filters: tuple[HttpFilter, ...], where: str, report: Report, *, is_server: bool
) -> tuple[HttpFilter, ...]:
    """A gRPC client refuses a listener for a filter that it does not know."""
    found = []
    for one in filters:
        inside = f"{where}: http_filters[{one.name}]"
        if isinstance(one.config, Router):
            found.append(one)
        elif isinstance(one.config, Fault) and not is_server:
            config = OFF if one.disabled else _fault(one.config, inside, report)
            found.append(replace(one, config=config, disabled=False))
        elif is_server and isinstance(one.config, Rbac):
            access = None if one.disabled else grpc_access(one.config, inside, report)
            if access is not None:
                found.append(replace(one, config=access))
        elif is_server and isinstance(one.config, GUARDS) and not one.disabled:
            report(Downgrade(inside, "gRPC servers do not know it: nobody is let in"))
            found.append(replace(one, config=NOBODY))
        else:
            report(Downgrade(inside, LEFT_OUT))
    return tuple(found)


def grpc_overrides(overrides: Overrides, where: str, report: Report) -> Overrides:
    found = (_override(one, where, report) for one in overrides)
    return tuple(override for override in found if override is not None)


def _override(override: FilterOverride, where: str, report: Report) -> FilterOverride | None:
    inside = f"{where}: typed_per_filter_config[{override.name}]"
    if isinstance(override.config, Fault):
        config = OFF if override.disabled else _fault(override.config, inside, report)
        return replace(override, config=config, disabled=False)
    if isinstance(override.config, Rbac) and not override.disabled:
        access = grpc_access(override.config, inside, report)
        return replace(override, config=Rbac() if access is None else access)
    report(Downgrade(inside, LEFT_OUT))
    return None


def _fault(fault: Fault, inside: str, report: Report) -> Fault:
    """What limits a fault is not looked at: it would hit calls that it is not meant for."""
    if fault.headers or fault.upstream_cluster:
        report(Downgrade(inside, f"a fault for some calls only is {LEFT_OUT}"))
        return OFF
    return fault
