"""The services that are asked about calls: clients are made when one is asked first.

Few members ever do, so nothing of it is imported before.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ..dataplane import AskAuthorization, AskRateLimit, RateLimitVerdict, UpstreamEndpoint
from ..middleware._drive import Runtime
from ..middleware._services import Question, UnansweredError, Verdict, unasked
from ..model.authn import HttpAuthorization
from .authorization import GrpcQuestion, grpc_question, http_question, http_verdict
from .tokens import attach

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..middleware._http_service import HttpServiceClient
    from ..middleware._service_client import ServiceClient
    from ..middleware._tls_upstream import Dial


class Services:
    """The ``services`` of a runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._made: ServiceClient | None = None
        self._http: HttpServiceClient | None = None
        self._tokens = attach(runtime)
        runtime.services = self
        runtime.resets.append(self.reset)

    def ask(self, effect: Question) -> Verdict:
        try:
            if isinstance(effect, AskAuthorization) and _is_http(effect):
                return http_verdict(
                    self._over_http().ask(effect.endpoint, http_question(effect), effect.timeout)
                )
            said = self._question(effect)
            return said.decode(
                self._client().ask(
                    effect.endpoint, said.method, said.message, effect.timeout, said.authority
                )
            )
        except UnansweredError as why:
            return unasked(effect, str(why))

    async def aask(self, effect: Question) -> Verdict:
        try:
            if isinstance(effect, AskAuthorization) and _is_http(effect):
                return http_verdict(
                    await self._over_http().aask(
                        effect.endpoint, http_question(effect), effect.timeout
                    )
                )
            said = self._question(effect)
            return said.decode(
                await self._client().aask(
                    effect.endpoint, said.method, said.message, effect.timeout, said.authority
                )
            )
        except UnansweredError as why:
            return unasked(effect, str(why))

    def _question(self, effect: Question) -> GrpcQuestion:
        if isinstance(effect, AskAuthorization):
            source = self._runtime.credentials
            shown = None if source is None else source.current()
            svid = None if shown is None else shown.svid
            return grpc_question(effect, "" if svid is None else svid.spiffe_id)
        return _rate_limit_question(effect)

    def _client(self) -> "ServiceClient":
        if self._made is None:
            from ..middleware._service_client import ServiceClient

            self._made = ServiceClient(self._dial)
        return self._made

    def _over_http(self) -> "HttpServiceClient":
        if self._http is None:
            from ..middleware._http_service import HttpServiceClient

            self._http = HttpServiceClient(self._context)
        return self._http

    def _dial(self, endpoint: UpstreamEndpoint) -> "Dial | None":
        if endpoint.secured_by is None:
            return None
        security = self._runtime.security.upstream
        transport = security.wanted_for(endpoint)
        return None if transport is None else security.dial(transport, endpoint.config.hostname)

    def _context(self, endpoint: UpstreamEndpoint) -> "tuple[SSLContext, str] | None":
        if endpoint.secured_by is None:
            return None
        security = self._runtime.security.upstream
        transport = security.wanted_for(endpoint)
        return None if transport is None else security.context(transport, endpoint.config.hostname)

    def reset(self) -> None:
        """In a forked child."""
        self._http = None
        if self._made is not None:
            self._made.reset()

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
        if self._http is not None:
            self._http.close()
        if self._tokens is not None:
            self._tokens.close()

    def status(self) -> Mapping[str, object]:
        """Of the issuers' keys that are fetched, by issuer."""
        return {} if self._tokens is None else self._tokens.status()

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made.aclose()


def _is_http(effect: AskAuthorization) -> bool:
    return isinstance(effect.service, HttpAuthorization)


def _rate_limit_question(effect: AskRateLimit) -> GrpcQuestion:
    from ..xds.rate_limit import METHOD, decode_response, encode_request

    message = encode_request(effect.domain, effect.descriptors)
    return GrpcQuestion(METHOD, message, partial(decode_response, make=RateLimitVerdict))
