"""Whom a server has to prove to be, before anything is said to it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from ..dataplane.routing.matchers import Regex, TextTest, text_test
from ..dataplane.upstream.transport import Transport
from ..identity.credentials import IdentityError
from ..identity.leaf import Leaf
from ..identity.material import is_own
from ..model import Exact
from ..model.security import CertificateValidation, SanMatcher, SanType

Sans = Mapping[SanType, tuple[str, ...]]
"""What a certificate says of its holder, kind by kind."""
NAMES = (SanType.URI, SanType.DNS, SanType.EMAIL, SanType.IP_ADDRESS)


@dataclass(frozen=True, slots=True)
class Allowed:
    """One of these names a certificate must have."""

    tests: tuple[tuple[SanType | None, TextTest], ...]

    def __call__(self, sans: Sans) -> bool:
        return any(
            test(name)
            for kind, test in self.tests
            for one in (NAMES if kind is None else (kind,))
            for name in sans.get(one, ())
        )


def allowed(matchers: Iterable[SanMatcher], regex: Regex) -> Allowed:
    return Allowed(tuple((one.san_type, text_test(one.match, regex)) for one in matchers))


def names_of(leaf: Leaf) -> Sans:
    return {SanType.URI: leaf.uri_sans, SanType.DNS: leaf.dns_sans}


def validation_of(transport: Transport) -> CertificateValidation:
    """Raises :class:`IdentityError` where nothing is to be verified: that is no way to connect."""
    found = transport.tls.validation
    if found is None:
        raise IdentityError("nothing says how to verify the server")
    return found


def member_test(transport: Transport, regex: Regex) -> Callable[[Leaf], bool]:
    """What the SVID of a member of the mesh must be.

    The id that the endpoint's metadata has, if the names of the cluster allow for it; without, one
    of those names.
    """
    matchers = validation_of(transport).match_subject_alt_names
    test = allowed(matchers, regex)
    wanted = transport.spiffe_id
    if wanted:
        if matchers and not test({SanType.URI: (wanted,)}):
            raise IdentityError(f"the endpoint is said to be {wanted}, whom the cluster rules out")
        return partial(_is, wanted)
    if not matchers:
        raise IdentityError("nothing says who has to answer at the endpoint")
    return lambda leaf: test(names_of(leaf))


def _is(wanted: str, leaf: Leaf) -> bool:
    return leaf.spiffe_id == wanted


def one_of(transport: Transport, regex: Regex) -> tuple[str, ...]:
    """The SPIFFE ids one of which has to answer, for who can compare no other names."""
    member_test(transport, regex)
    found = (transport.spiffe_id,) if transport.spiffe_id else exact_ids(transport)
    if not found:
        raise IdentityError(
            "gRPC has to know the SPIFFE ids that are to answer: neither the endpoint's metadata"
            " nor match_subject_alt_names says them"
        )
    return found


def exact_ids(transport: Transport) -> tuple[str, ...]:
    """The SPIFFE ids one of which has to answer; none, if that is said in any other way."""
    found = tuple(map(_exact_id, validation_of(transport).match_subject_alt_names))
    return found if all(found) else ()


def _exact_id(matcher: SanMatcher) -> str:
    match matcher:
        case SanMatcher(match=Exact(value, False), san_type=SanType.URI | None):
            return value if value.startswith("spiffe://") else ""
        case _:
            return ""


def one_host(transport: Transport, host: str) -> str:
    """The only DNS name that will do."""
    matchers = validation_of(transport).match_subject_alt_names
    if not matchers:
        return server_name(transport) or host
    exact = _exact(validation_of(transport), SanType.DNS)
    if exact is None:
        raise IdentityError("gRPC compares one exact DNS name, no other match_subject_alt_names")
    if server_name(transport) not in ("", exact):
        raise IdentityError("gRPC cannot send a server name (SNI) and expect another in return")
    return exact


def _exact(validation: CertificateValidation, kind: SanType) -> str | None:
    match validation.match_subject_alt_names:
        case (SanMatcher(match=Exact(value, False), san_type=found),) if found in (kind, None):
            return value
        case _:
            return None


def server_name(transport: Transport) -> str:
    """The name to ask for (SNI), "" where none is said."""
    tls = transport.tls
    return (transport.hostname if tls.auto_host_sni else "") or tls.sni


def knows_members(transport: Transport) -> bool:
    return is_own(validation_of(transport).roots)
