"""What secures the connections of one mesh, those it makes and those that come in."""

from typing import TYPE_CHECKING

from ..identity.material import Materials, Secrets, no_secrets
from ..model.security import Secret
from ._tls_inbound import InboundSecurity
from ._tls_lines import Lines
from ._tls_upstream import UpstreamSecurity, unmade

if TYPE_CHECKING:
    from ._drive import Runtime
    from ._tls_native import Shim


class Security:
    """``secrets``: those of other names than the member's own, set by the composition root."""

    def __init__(self, runtime: "Runtime") -> None:
        options = runtime.engine.options
        self.secrets: Secrets = no_secrets
        self.materials = Materials(lambda: runtime.credentials, runtime.clock, self._secret)
        self._runtime = runtime
        self.upstream = UpstreamSecurity(self.materials, options.wall, options.regex, self._shim)
        self.inbound = InboundSecurity(runtime, self.materials)
        self.lines = Lines(runtime)
        for one in (self.materials, self.upstream, self.inbound.held, self.lines):
            runtime.resets.append(one.reset)

    def _shim(self) -> "Shim":
        from ._tls_native import Shim

        resources = self._runtime.native
        return unmade() if resources is None else Shim(resources)

    def _secret(self, name: str) -> Secret | None:
        return self.secrets(name)
