"""``/certs``: what connections are secured with. Never a key."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ...model.security import CertificateFiles, RootFile
from .answers import Asked, framed
from .member import Member

if TYPE_CHECKING:
    from ...identity.shown import Shown

DAY = 86400
INLINE = "<inline>"
"""As Envoy calls what did not come from a file."""


def json(member: Member, asked: Asked) -> Iterable[str]:
    """``envoy.admin.v3.Certificates``."""
    now = member.wall()
    return framed(
        {},
        certificates=(
            {
                "ca_cert": [_details(one, path, now) for path, one in roots],
                "cert_chain": [_details(one, path, now) for path, one in chain],
            }
            for roots, chain in _sets(member)
        ),
    )


def text(member: Member, asked: Asked) -> Iterator[str]:
    now = member.wall()
    for roots, chain in _sets(member):
        for kind, found in (("chain", chain), ("root", roots)):
            for path, one in found:
                yield _line(kind, one, path, now)


def _line(kind: str, one: "Shown", path: str, now: float) -> str:
    known = sorted(one.names, key=lambda named: named[0] != "uri")  # ids first
    names = " ".join(name for _, name in known) or one.subject
    left = _left(one.not_after - now)
    lasts = f"{_moment(one.not_before)} to {_moment(one.not_after)}"
    return f"{kind:<6}{one.serial}  {names}  {lasts}  {left}  {path}"


def _left(seconds: float) -> str:
    if seconds <= 0:
        return "EXPIRED"
    return f"{seconds / DAY:.0f} days left" if seconds > 2 * DAY else f"{seconds / 60:.0f} min left"


Found = list[tuple[str, "Shown"]]


def _sets(member: Member) -> Iterator[tuple[Found, Found]]:
    """Roots and chain by use, the member's own first, each set once."""
    from ...identity.shown import shown

    seen = set()
    for roots_path, roots, chain_path, chain in _pems(member):
        if (roots, chain) not in seen:
            seen.add((roots, chain))
            yield (
                [(roots_path, one) for one in shown(roots)],
                [(chain_path, one) for one in shown(chain)],
            )


def _pems(member: Member) -> Iterator[tuple[str, bytes, str, bytes]]:
    source = member.identity.for_calls
    own = None if source is None else source.current()
    if own is not None:
        roots = b"".join(bundle.pem for bundle in own.bundles.values())
        yield INLINE, roots, INLINE, b"" if own.svid is None else own.svid.certificate_chain
    for (certificate, believed, _), held in member.runtime.security.materials.held():
        yield (
            believed.path if isinstance(believed, RootFile) else INLINE,
            held.roots or b"",
            certificate.certificate_chain if isinstance(certificate, CertificateFiles) else INLINE,
            held.certificate_chain,
        )


def _details(one: "Shown", path: str, now: float) -> dict[str, Any]:
    return {
        "path": path,
        "serial_number": one.serial.zfill(len(one.serial) + len(one.serial) % 2),  # whole octets
        "subject_alt_names": [{kind: name} for kind, name in one.names],
        "days_until_expiration": str(_days(one, now)),
        "valid_from": _moment(one.not_before),
        "expiration_time": _moment(one.not_after),
    }


def _days(one: "Shown", now: float) -> int:
    return max(0, int((one.not_after - now) // DAY))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
