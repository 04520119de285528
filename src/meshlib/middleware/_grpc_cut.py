"""Calls under way, cut off as if their connection had broken: grpcio itself says so to callers."""

from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
from grpc._cython import cygrpc

from ._tls_lines import REVOKED

CANCELLED = grpc.StatusCode.CANCELLED.value[0]
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]


def cut(channel: grpc.Channel) -> None:
    """As grpcio closes a channel, but for the status that its calls end with."""
    core: Any = channel._channel  # type: ignore[attr-defined]  # noqa: SLF001
    core.close(UNAVAILABLE, REVOKED)


def cut_calls(calls: Iterable[Any]) -> None:
    """Of an event loop, which this has to be called on.

    Whoever awaits a call that was merely cancelled hears ``CancelledError``, as if his own task
    were to end.
    """
    for native in list(calls):
        if not native.done():
            core = native._cython_call  # noqa: SLF001
            native._cython_call = Cut(core)  # noqa: SLF001
            core.cancel(REVOKED)


class Cut:
    """Stands for gRPC core's side of a call, whose cancellation is not its caller's."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    @property
    def _status(self) -> Any:
        return _told(self._core._status)  # noqa: SLF001

    async def status(self) -> Any:
        return _told(await self._core.status())

    def is_locally_cancelled(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False


def _told(status: Any) -> Any:
    """It may have ended in another way at the same time."""
    if status is None or status.code() != CANCELLED or status.details() != REVOKED:
        return status
    return cygrpc.AioRpcStatus(UNAVAILABLE, REVOKED, (), REVOKED)
