"""What stands before a member of the mesh: who may connect in which way, and who may do what."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from ... import model
from ...model import rbac
from ...model.authn import ExtAuthz
from ...model.security import CertificateValidation, DownstreamTls
from ..manifests.manifest import Manifest
from ..manifests.peer_authentication import Mode
from ..manifests.selection import Targeting
from .access_filters import RBAC, access_filters
from .inbound import told
from .peer_modes import PeerModes, peer_modes
from .pieces import same
from .providers import providers_of
from .securing import has_identities
from .token_filters import token_filters
from .transport import OWN, ROOTS
from .trust_domains import TrustDomains
from .view import View

P = TypeVar("P", bound=Targeting)

ANYWHERE = model.Address("0.0.0.0", 0)  # noqa: S104 - nobody binds it: the member has its own
"""Of a listener whose TLS matters, for what is called by name has none on the wire."""
MUTUAL = DownstreamTls(
    certificate=OWN,
    validation=CertificateValidation(roots=ROOTS),
    require_client_certificate=True,
    alpn_protocols=("h2", "http/1.1"),
)


@dataclass(frozen=True, slots=True)
class Filters:
    """What was made, and of what; in a world of the same settings."""

    read: tuple[object, ...] = ()
    providers: Mapping[str, ExtAuthz] = field(default_factory=dict)
    made: tuple[model.HttpFilter, ...] = ()


@dataclass(frozen=True)
class Guard:
    """Of the member that the view is of. ``before`` is made use of again, where it still holds."""

    view: View
    before: Filters = Filters()

    @cached_property
    def found(self) -> Filters:
        world, mesh = self.view.world, self.view.mesh
        tokens = self._held(world.request_authentications)
        policies = self._held(world.authorization_policies)
        read, providers = (*tokens, *policies), providers_of(self.view)
        if same(read, self.before.read) and providers == self.before.providers:
            return self.before
        trust = TrustDomains((mesh.trust_domain, *mesh.trust_domain_aliases))
        access = access_filters(policies, trust, providers)
        return Filters(read, providers, (*token_filters(tokens), *access))

    @property
    def filters(self) -> tuple[model.HttpFilter, ...]:
        """Who calls, and whether he may; in the order in which calls meet them."""
        return self.found.made

    @cached_property
    def modes(self) -> PeerModes:
        scope = self.view.scope
        said = self.view.peer_authentications(scope.namespace)
        root = self.view.mesh.root_namespace
        return peer_modes(said, root, scope.namespace, dict(scope.labels))

    @property
    def is_needed(self) -> bool:
        """Is there anything that a server has to know?

        Where anybody speaks of mutual TLS it is told of leniency too: who hears no more would go
        on being strict.
        """
        is_said = bool(self.filters) or self.modes.all != {"PERMISSIVE"}
        return is_said or has_identities(self.view.world)

    def at(self, listener: model.Listener, port: int) -> model.Listener:
        """One that serves a single port of the member."""
        return self._secured(self._filtered(listener), self.modes.at(port))

    def at_all(self, listener: model.Listener) -> model.Listener:
        """The one of a member that serves all its ports.

        Where ports differ connections come in as the most lenient wants it, and what the others
        do not let in is refused call by call.
        """
        listener, modes = self._filtered(listener), self.modes
        if self.is_needed:
            listener = told(listener, mtls=modes.mode)
        if len(modes.all) == 1:
            made = self._secured(listener, *modes.all)
        else:
            made = self._secured(_with_ports(listener, modes), "PERMISSIVE")
        return made if made.tls is None or made.address else replace(made, address=ANYWHERE)

    def _held(self, manifests: Iterable[Manifest[P]]) -> list[Manifest[P]]:
        """Those of the mesh, then those of the member's namespace, where they select it."""
        scope, root = self.view.scope, self.view.mesh.root_namespace
        heard = [
            one
            for one in manifests
            if one.namespace in {root, scope.namespace}
            and not one.spec.is_for_waypoints
            and scope.carries(one.spec.labels)
        ]
        return sorted(heard, key=lambda one: one.namespace != root)

    def _filtered(self, listener: model.Listener) -> model.Listener:
        http = listener.http
        normal = bool(self.filters) and self.view.mesh.normalize_guarded
        made = replace(
            http,
            http_filters=(*self.filters, *http.http_filters),
            normalize_path=http.normalize_path or normal,
        )
        return replace(listener, http=made)

    def _secured(self, listener: model.Listener, mode: Mode) -> model.Listener:
        # Where nobody speaks of mutual TLS, nobody may be able to.
        if mode == "DISABLE" or (mode == "PERMISSIVE" and not has_identities(self.view.world)):
            return listener
        return replace(listener, tls=MUTUAL, plaintext=mode == "PERMISSIVE")


def _with_ports(listener: model.Listener, modes: PeerModes) -> model.Listener:
    """The modes in its metadata, and a filter that refuses plain text where it is not let in."""
    said = tuple(sorted((str(number), mode) for number, mode in modes.ports.items()))
    listener = told(listener, mtls_ports=model.Struct(said))
    filters = (*_only_encrypted(modes), *listener.http.http_filters)
    return replace(listener, http=replace(listener.http, http_filters=filters))


def _only_encrypted(modes: PeerModes) -> Iterator[model.HttpFilter]:
    """A port that cannot be told is one of those that are strict."""
    others = [number for number, mode in modes.ports.items() if mode != "STRICT"]
    strict = [number for number, mode in modes.ports.items() if mode == "STRICT"]
    if modes.mode == "STRICT":
        meant: rbac.Rule = rbac.NotRule(_one_of(others)) if others else rbac.AnyRule()
    elif strict:
        meant = _one_of(strict)
    else:
        return
    policy = rbac.Policy(
        name="mtls",
        permissions=(meant,),
        principals=(rbac.NotRule(rbac.Authenticated()),),
    )
    rules = rbac.RbacRules(action=rbac.RbacAction.DENY, policies=(policy,))
    yield model.HttpFilter(name=f"{RBAC}.mtls", config=rbac.Rbac(rules=rules))


def _one_of(numbers: Iterable[int]) -> rbac.Rule:
    return rbac.OrRules(tuple(map(rbac.DestinationPort, sorted(numbers))))
