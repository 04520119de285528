"""The listeners of those who serve: meshlib's "inbound", and gRPC's by template (gRFC A36)."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from ... import model
from ..manifests.common import is_ip
from .guarding import Guard
from .inbound import SERVED, bare_inbound, inbound_listener, inbound_to
from .telemetry import NOTHING, Tellings
from .view import View

BY_TEMPLATE = re.compile(r"(?:(?:^|/)inbound/|[?&]xds\.resource\.listening_address=)([^/?&]+)$")


def server_listeners(view: View, guard: Guard, tellings: Tellings) -> Iterator[model.Listener]:
    own = inbound_listener(view)
    if own is None and (guard.is_needed or tellings.server != NOTHING):
        own = bare_inbound(view.mesh)
    if own is not None:
        yield guard.at_all(own)
    for name in view.scope.server_listeners:
        address = served_address(name)
        if address is not None:
            made = inbound_to(name, view.mesh, (SERVED,), address=address)
            yield guard.at(made, address.port)


def served_address(listener: str) -> model.Address | None:
    """Where a gRPC server listens that asks for this listener, if it is one that does.

    ``xds.istio.io/grpc/lds/inbound/10.0.0.1:80``, as any template that ends in ``/inbound/%s``
    or ``?xds.resource.listening_address=%s`` makes it.
    """
    found = BY_TEMPLATE.search(listener)
    if found is None:
        return None
    host, _, port = unquote(found[1]).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not is_ip(host) or not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        return None
    return model.Address(host, int(port))
