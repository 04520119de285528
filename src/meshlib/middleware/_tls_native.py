"""gRPC channels that know a server by the URI name of its certificate: by no DNS name at all.

gRPC core compares URI names only under xDS credentials. So each such channel has an xDS client of
its own, whose control plane is in this very process, on a socket that nobody else can open. Its
bootstrap is given with the channel: an application's own use of xDS is not touched.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

import grpc

from ..identity.bundle_map import bundle_map
from ..identity.credentials import IdentityError
from ..identity.held_files import HeldFile, private_folder
from ..identity.material import Material
from ..model import Address
from ._grpc_status import is_ip

P = ParamSpec("P")
R = TypeVar("R")

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
BOOTSTRAP = "grpc.TEST_ONLY_DO_NOT_USE_IN_PROD.xds_bootstrap_config"
"""Where gRPC core does not know it (any more), channels find no control plane, and fail."""
BY_DOMAIN = "GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE"
"""Where this is not "true", gRPC core does not read roots by trust domain, and channels fail."""
NEVER = "31536000s"
"""Files are never changed: there is nothing to look for."""


class Conversation(Protocol):
    """What one xDS client asks and is told."""

    def answer(self, request: bytes) -> bytes | None:
        """Raises :class:`ValueError` for what nobody here asks."""


class NativeResources(Protocol):
    """xDS is spoken at the border, not in here."""

    provider: str

    def name(self, address: Address, ids: Sequence[str], *, is_ip: bool, shows: bool) -> str: ...

    def converse(self) -> Conversation: ...


@dataclass(frozen=True, slots=True, eq=False)
class Native:
    """How to make a channel. Held as long as there is one: it opens the files when it likes."""

    resources: NativeResources
    ids: tuple[str, ...]
    shows: bool
    bootstrap: str
    held: tuple[object, ...]

    def target(self, address: Address) -> str:
        name = self.resources.name(address, self.ids, is_ip=is_ip(address.host), shows=self.shows)
        return f"xds:///{name}"

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        return ((BOOTSTRAP, self.bootstrap),)


class Shim:
    """The control plane: it says of each endpoint how it is to be verified, and nothing else."""

    def __init__(self, resources: NativeResources) -> None:
        self.resources = resources
        self.address = self._place()
        threads: Any = Threads()  # gRPC asks no more of a pool than to run things
        self._server = grpc.server(threads, handlers=[_Ads(resources)])
        try:
            self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise IdentityError(f"gRPC cannot be told whom to believe: {error}") from error
        self._server.start()

    def _place(self) -> str:
        """Where no folder can be made, a socket has a name all the same. Others could ask there
        whom this process calls, but nobody else can answer."""
        try:
            return f"unix:{private_folder(self)}/ads"
        except OSError:
            return f"unix-abstract:meshlib-{os.urandom(16).hex()}"

    def native(
        self, material: Material, roots: Mapping[str, bytes], ids: Sequence[str]
    ) -> tuple[Native, grpc.ChannelCredentials]:
        """``roots``: PEM by trust domain."""
        if os.environ.setdefault(BY_DOMAIN, "true").lower() != "true":
            raise IdentityError(f"gRPC verifies SPIFFE ids only where {BY_DOMAIN} is true")
        files = {"spiffe_bundle_map_file": HeldFile(bundle_map(roots))}
        if material.certificate_chain:
            files["certificate_file"] = HeldFile(material.certificate_chain)
            files["private_key_file"] = HeldFile(material.private_key)
        made = Native(
            resources=self.resources,
            ids=tuple(ids),
            shows=bool(material.certificate_chain),
            bootstrap=self._bootstrap({name: file.path for name, file in files.items()}),
            held=(self, *files.values()),
        )
        return made, _credentials(roots)

    def _bootstrap(self, files: Mapping[str, str]) -> str:
        server = {
            "server_uri": self.address,
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }
        provider = {"plugin_name": "file_watcher", "config": {**files, "refresh_interval": NEVER}}
        return json.dumps(
            {
                "xds_servers": [server],
                "node": {"id": "meshlib"},
                "certificate_providers": {self.resources.provider: provider},
            }
        )


def _credentials(roots: Mapping[str, bytes]) -> grpc.ChannelCredentials:
    """Without an answer of the shim they are those of TLS, and not, as is usual, of nothing."""
    tls = grpc.ssl_channel_credentials(b"".join(roots.values()))
    return grpc.xds_channel_credentials(tls)


class _Ads(grpc.GenericRpcHandler):
    def __init__(self, resources: NativeResources) -> None:
        self._handler: Any = grpc.stream_stream_rpc_method_handler(partial(_answers, resources))

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handler if details.method == METHOD else None


def _answers(
    resources: NativeResources, requests: Iterator[bytes], call: grpc.ServicerContext
) -> Iterator[bytes]:
    conversation = resources.converse()
    for request in requests:
        try:
            answer = conversation.answer(request)
        except ValueError as error:
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if answer is not None:
            yield answer


class Threads(Executor):
    """One for each stream, as long as it lasts; the process does not wait for them to end."""

    def submit(self, call: Callable[P, R], /, *given: P.args, **named: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        run = partial(call, *given, **named)
        threading.Thread(target=_run, args=(future, run), daemon=True).start()
        return future


def _run(future: Future[R], call: Callable[[], R]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is told to who waits for the future
        future.set_exception(error)
