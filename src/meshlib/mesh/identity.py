"""Who this member is, and where it has that from."""

import hashlib
import os
import random  # noqa: TID251 - the one floor where luck comes in
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, Problem
from ..identity.credentials import Credentials, CredentialSource, Forget, IdentityError
from ..identity.material import Secrets, no_secrets
from ..middleware._drive import Runtime
from .discovered import Discovered
from .options import Options
from .securing import Fit, fit_for

if TYPE_CHECKING:
    from ..identity.spiffe import TrustDomain
    from ..xds.bootstrap import Bootstrap
    from .registration import Inbound

CA, TOKEN, TOKEN_FILE, ROOT = (
    "MESHLIB_CA",
    "MESHLIB_CA_TOKEN",
    "MESHLIB_CA_TOKEN_FILE",
    "MESHLIB_CA_ROOT",
)
TRUST_DOMAIN = "MESHLIB_TRUST_DOMAIN"
WORKLOAD_API = "SPIFFE_ENDPOINT_SOCKET"
FOLDER = "MESHLIB_CERT_DIR"
PLANE_TLS = "MESHLIB_CONTROL_PLANE_TLS"
SDS = "MESHLIB_SDS"
TLS_MODE_LABEL = "security.istio.io/tlsMode"
FILE_WATCHER = "file_watcher"
PINNED = "sha256:"
PATIENCE = 5.0
"""Seconds after which the control plane is asked even without a certificate: then it is known that
it cannot be, and what is done in that case begins."""


class Identity:
    """``source`` ``None``: nothing proves who this is. Safe from any thread.

    ``secrets`` are those of the control plane; ``None``: there is no control plane.
    """

    def __init__(
        self,
        source: CredentialSource | None,
        mtls: str,
        *,
        secures_plane: bool = True,
        secrets: Discovered | None = None,
    ) -> None:
        self.source = source
        self.secrets = secrets
        self._mtls = mtls
        self._secures_plane = source is not None and secures_plane

    @property
    def fit(self) -> Fit:
        return fit_for(self._mtls, has_identity=self.source is not None)

    @property
    def labels(self) -> dict[str, str]:
        """By which callers know that they may come with a certificate."""
        return {} if self.for_calls is None else {TLS_MODE_LABEL: "istio"}

    def inbound_of(self, runtime: Runtime) -> "Inbound | None":
        """What is told of calls that come in; ``None``: there is nothing to choose."""
        if self.for_calls is None:
            return None
        return lambda: (self._mtls, dict(runtime.security.inbound.callers))

    @property
    def named(self) -> Secrets:
        """Secrets of other names than the member's own."""
        return no_secrets if self.secrets is None else self.secrets.source.named

    def principal(self) -> str:
        """As what this member is known to those it calls; "" as long as it proves nothing."""
        source = self.for_calls
        found = None if source is None else source.current()
        return "" if found is None or found.svid is None else found.svid.spiffe_id

    @property
    def for_calls(self) -> CredentialSource | None:
        """Who turned mutual TLS off proves nothing to those it calls."""
        return None if self._mtls == "off" else self.source

    def start(self) -> None:
        """Begin to ask for credentials; an event loop may call it.

        Raises :class:`ConfigError` where what there is cannot be used at all.
        """
        if self.source is None:
            return
        try:
            self.source.start()
        except IdentityError as error:
            raise ConfigError(Problem("Mesh: identity", str(error))) from error

    def when_ready(self, action: Callable[[], None]) -> None:
        """As soon as there are credentials; where none come in time, without them."""
        if self.source is None or not self._secures_plane or self.source.current() is not None:
            action()
            return
        timer = threading.Timer(PATIENCE, action)
        timer.daemon = True
        timer.start()
        once: list[Forget] = []

        def came(_: Credentials) -> None:
            timer.cancel()
            while once:
                once.pop()()
            action()

        once.append(self.source.watch(came))

    def is_ready(self, timeout: float) -> bool:
        if self.source is None or self.source.current() is not None:
            return True
        came = threading.Event()
        forget = self.source.watch(lambda _: came.set())
        try:
            return came.wait(timeout)
        finally:
            forget()

    def close(self) -> None:
        if self.source is not None:
            self.source.close()

    @property
    def shown_to_plane(self) -> "Callable[[], tuple[bytes, bytes, bytes]] | None":
        """Roots, key and certificate for the control plane; ``None``: it is asked without."""
        return self._shown if self._secures_plane else None

    def _shown(self) -> tuple[bytes, bytes, bytes]:
        assert self.source is not None
        found = self.source.current()
        if found is None or found.svid is None:
            said = f"no certificate yet: {self.source.status().get('error')}"
            raise ConfigError(Problem("Mesh: identity", said))
        from ..identity.spiffe import TrustDomain

        # Of no federated domain: its CA could claim the control plane's name as well.
        own = found.bundles[str(TrustDomain.parse(found.svid.spiffe_id))]
        return own.pem, found.svid.private_key, found.svid.certificate_chain

    def status(self) -> dict[str, Any]:
        """No secrets."""
        told = {"kind": "none"} if self.source is None else dict(self.source.status())
        return {"mtls": self._mtls, **told}


def identity_of(options: Options, environ: Mapping[str, str] = os.environ) -> Identity:
    """No I/O. Raises :class:`ConfigError` for what contradicts itself or is half said."""
    made = _source(options, environ)
    secrets = _discovered(options, environ, has_source=made is not None)
    is_discovered = secrets is not None and secrets.is_identity
    if secrets is not None and is_discovered:
        made = secrets.source
    if made is None and options.mtls == "strict":
        said = f"'strict' needs an identity: {CA}, {WORKLOAD_API}, {FOLDER} or a bootstrap's files"
        raise ConfigError(Problem("Mesh: mtls", said))
    secures = _is_on(environ, PLANE_TLS, "on") and not is_discovered
    return Identity(made, options.mtls, secures_plane=secures, secrets=secrets)


def _discovered(
    options: Options, environ: Mapping[str, str], *, has_source: bool
) -> Discovered | None:
    """The own name is taken from the control plane where that is wanted, or nothing else could
    make good on ``strict``: who only might be somebody would wait for it in vain."""
    is_wanted = _is_on(environ, SDS, "off")
    has_plane = options.control_plane is not None or options.bootstrap is not None
    if is_wanted and (has_source or not has_plane):
        why = "something else says who this is" if has_source else "there is no control plane"
        raise ConfigError(Problem(SDS, f"'on', and {why}"))
    if not has_plane:
        return None
    from ..identity.secret_source import SecretSource

    made = SecretSource(_trust_domain(environ), clock=_wall)
    return Discovered(made, is_wanted or (options.mtls == "strict" and not has_source))


def _is_on(environ: Mapping[str, str], name: str, usual: str) -> bool:
    word = environ.get(name, usual)
    if word not in ("on", "off"):
        raise ConfigError(Problem(name, f"{word!r} is neither 'on' nor 'off'"))
    return word == "on"


def _trust_domain(environ: Mapping[str, str]) -> "TrustDomain":
    from ..identity.spiffe import TrustDomain

    try:
        return TrustDomain(environ.get(TRUST_DOMAIN) or "cluster.local")
    except IdentityError as error:
        raise ConfigError(Problem(TRUST_DOMAIN, str(error))) from error


def _source(options: Options, environ: Mapping[str, str]) -> CredentialSource | None:
    if environ.get(CA) or environ.get(ROOT):
        return _of_ca(options, environ)
    if environ.get(WORKLOAD_API):
        return _of_workload_api(environ)
    if environ.get(FOLDER):
        return _of_folder(Path(environ[FOLDER]))
    return _of_bootstrap(options)


def _of_ca(options: Options, environ: Mapping[str, str]) -> CredentialSource:
    from ..identity.client import CaAddress, CaSource

    target = environ.get(CA) or options.control_plane or ""
    if not target:
        raise ConfigError(Problem(CA, f"{ROOT} is set, and nothing says where the CA is"))
    root = environ.get(ROOT)
    if not root and not target.startswith("unix:"):
        said = f"{ROOT} must name a file with its root, or its hash: else anybody could be the CA"
        raise ConfigError(Problem(CA, said))
    address = CaAddress(
        target=target,
        roots=_roots(root, target) if root else None,
        token=_token(environ),
        spiffe_id=_named(options, environ) if target.startswith("unix:") else "",
    )
    return CaSource(address, wall=_wall, monotonic=time.monotonic, dice=random.random)


def _named(options: Options, environ: Mapping[str, str]) -> str:
    """Who this is, where nobody has to prove it."""
    from ..identity.spiffe import SpiffeId

    domain = _trust_domain(environ)
    try:
        account = options.service or "default"
        return str(SpiffeId.of_workload(domain, options.namespace, account))
    except IdentityError as error:
        raise ConfigError(Problem("Mesh: identity", str(error))) from error


def _token(environ: Mapping[str, str]) -> Callable[[], str]:
    text, path = environ.get(TOKEN, ""), environ.get(TOKEN_FILE, "")
    if not path:
        return lambda: text

    def read() -> str:
        try:
            return Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise IdentityError(f"{TOKEN_FILE}: {error}") from error

    return read


def _roots(root: str, target: str) -> Callable[[], bytes]:
    if root.startswith(PINNED):
        wanted = root.removeprefix(PINNED).replace(":", "").lower()
        if len(wanted) != hashlib.sha256().digest_size * 2:
            raise ConfigError(Problem(ROOT, f"{root!r} is not sha256: and 64 hex digits"))
        return lambda: _pinned(target, wanted)

    def read() -> bytes:
        try:
            found = Path(root).read_bytes()
        except OSError as error:
            raise IdentityError(f"{ROOT}: {root}: {error.strerror}") from error
        if b"-----BEGIN CERTIFICATE-----" not in found:
            raise IdentityError(f"{ROOT}: {root}: there is no certificate in it (PEM)")
        return found

    return read


def _pinned(target: str, wanted: str) -> bytes:
    from ..identity.pinning import pinned_root

    return pinned_root(target, wanted)


def _of_workload_api(environ: Mapping[str, str]) -> CredentialSource:
    from ..identity.workload_api import WorkloadApiSource, endpoint

    try:
        target = endpoint(environ[WORKLOAD_API])
    except IdentityError as error:
        raise ConfigError(Problem(WORKLOAD_API, str(error))) from error
    return WorkloadApiSource(target, clock=_wall, dice=random.random)


def _of_folder(folder: Path) -> CredentialSource:
    from ..identity.sources import Files, FileSource

    files = Files(folder / "svid.pem", folder / "key.pem", folder / "bundle.pem")
    return FileSource(files, clock=_wall)


def _of_bootstrap(options: Options) -> CredentialSource | None:
    from ..identity.sources import Files, FileSource

    found = None if options.bootstrap is None else _provider(options)
    if found is None:
        return None
    chain, key, roots = map(Path, found)
    return FileSource(Files(chain, key, roots), clock=_wall)


def _provider(options: Options) -> tuple[str, str, str] | None:
    """Of the bootstrap's file watchers the one that has all, the one named "default" first."""
    from .remote import bootstrap_of

    bootstrap: Bootstrap = bootstrap_of(options)
    providers = bootstrap.certificate_providers
    for name in sorted(providers, key=lambda name: name != "default"):
        one = providers[name]
        found = one.certificate_file, one.private_key_file, one.ca_certificate_file
        if one.plugin_name == FILE_WATCHER and all(found):
            return found
    return None


def _wall() -> float:
    return time.time()  # noqa: TID251 - what certificates go by
