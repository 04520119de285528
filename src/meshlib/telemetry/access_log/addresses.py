"""From where to where a call went."""

from ...dataplane import CallEnded, Cause, Failure
from .values import Read


def upstream(event: CallEnded) -> str | None:
    """Where the last attempt went, if somebody was reached there."""
    endpoint, outcome = event.record.endpoint, event.outcome
    if endpoint is None or (isinstance(outcome, Failure) and outcome.cause is Cause.CONNECT):
        return None
    return endpoint.key


def local(event: CallEnded) -> str | None:
    """Where the call came in; nothing where it began in this very program."""
    return event.record.request.connection.local_address or None


def direct(event: CallEnded) -> str | None:
    """Who made the connection; nobody did where the call began in this very program."""
    record = event.record
    return record.request.source or None if record.inbound else None


def remote(event: CallEnded) -> str | None:
    """Who calls: whom a trusted gateway calls for, or who made the connection."""
    record = event.record
    return record.request.remote or record.request.source or None if record.inbound else None


def host_of(address: Read) -> Read:
    def read(event: CallEnded) -> str | None:
        found = address(event)
        return None if found is None else _split(found)[0] or None

    return read


def port_of(address: Read) -> Read:
    def read(event: CallEnded) -> int | None:
        found = address(event)
        port = None if found is None else _split(found)[1]
        return None if not port else int(port)

    return read


def _split(address: str) -> tuple[str, str]:
    """An address may have no port: of a Unix socket, or of whom a gateway calls for."""
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or host.endswith(":"):
        return address, ""
    return host.strip("[]"), port


ADDRESSES: dict[str, Read] = {
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": direct,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": host_of(direct),
    "DOWNSTREAM_DIRECT_REMOTE_PORT": port_of(direct),
    "DOWNSTREAM_LOCAL_ADDRESS": local,
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": host_of(local),
    "DOWNSTREAM_LOCAL_PORT": port_of(local),
    "DOWNSTREAM_REMOTE_ADDRESS": remote,
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": host_of(remote),
    "DOWNSTREAM_REMOTE_PORT": port_of(remote),
    "UPSTREAM_REMOTE_ADDRESS": upstream,
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": host_of(upstream),
    "UPSTREAM_REMOTE_PORT": port_of(upstream),
}
