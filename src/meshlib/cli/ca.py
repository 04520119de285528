"""``meshlib ca``: a certificate authority in a folder."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import MeshError
from ._output import example, output_option, print_json, print_table

if TYPE_CHECKING:
    from ..identity.authority import Authority, Revoked
    from ..identity.slots import Slot
    from ..identity.spiffe import SpiffeId

F = TypeVar("F", bound=Callable[..., Any])
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(ctx: click.Context, parameter: click.Parameter, value: str) -> float:
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no duration such as 90s, 10m, 1h or 365d")
    return float(found[1]) * UNITS[found[2]]


def duration_option(name: str, default: str, text: str) -> Callable[[F], F]:
    """``90s``, ``10m``, ``1h``, ``365d``; the command is given seconds."""
    return click.option(
        name, default=default, show_default=True, callback=_seconds, metavar="TIME", help=text
    )


def ca_option(command: F) -> F:
    return click.option(
        "--ca",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default="ca",
        show_default=True,
        envvar="MESHLIB_CA_DIR",
        metavar="DIR",
        help="The CA's folder; else MESHLIB_CA_DIR.",
    )(command)


def id_option(command: F) -> F:
    return click.option(
        "--id",
        "spiffe_id",
        required=True,
        metavar="SPIFFE-ID",
        help="As spiffe://cluster.local/ns/default/sa/reviews.",
    )(command)


@click.group(
    epilog=example(
        "meshlib ca init",
        "meshlib ca issue --id spiffe://cluster.local/ns/default/sa/reviews --out certs/",
        "meshlib ca show",
    )
)
def ca() -> None:
    """Make a certificate authority, and certificates with it."""


@ca.command(epilog=example("meshlib ca init --trust-domain cluster.local"))
@ca_option
@click.option(
    "--trust-domain", default="cluster.local", show_default=True, metavar="NAME", help="Whose CA."
)
@duration_option("--root-life", "365d", "Of each root.")
@duration_option(
    "--propagation",
    "24h",
    "How long until everyone has a new bundle; a new root is not used before.",
)
@output_option()
def init(
    folder: Path, trust_domain: str, root_life: float, propagation: float, output: str
) -> None:
    """Make a root and an intermediate, in a folder for your eyes alone."""
    from ..identity.authority import Authority
    from ..identity.credentials import IdentityError
    from ..identity.slots import Schedule
    from ..identity.spiffe import TrustDomain
    from ..identity.store import FolderStore

    domain = TrustDomain.parse(trust_domain)
    schedule = Schedule(root_life=root_life, propagation=propagation)
    store = FolderStore(folder)
    store.create()
    try:
        made = Authority.create(store, domain, _now(), schedule)
    except IdentityError as refused:
        raise MeshError(f"{folder}: {refused}\nNext: meshlib ca show --ca {folder}") from refused
    _say(
        output,
        {"folder": str(folder), "trust_domain": str(domain), "roots": _roots(made)},
        f"the CA of {domain} is in {folder}\n"
        f"Next: meshlib ca issue --ca {folder} --id {domain.id}/ns/default/sa/NAME --out DIR",
    )


@ca.command(
    epilog=example("meshlib ca issue --id spiffe://cluster.local/ns/default/sa/reviews --out certs")
)
@ca_option
@id_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Where svid.pem, key.pem and bundle.pem go.",
)
@duration_option("--ttl", "1h", "At most 24h.")
@click.option(
    "--csr",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A signing request; of it the public key is taken, and no key.pem is made.",
)
@output_option()
def issue(
    folder: Path, spiffe_id: str, out: Path, ttl: float, csr: Path | None, output: str
) -> None:
    """Make a certificate for an id, with a new key or for the one of a signing request."""
    from ..identity.spiffe import SpiffeId

    authority, wanted, now = _open(folder), SpiffeId.parse(spiffe_id), _now()
    authority.advance(now)
    key = None
    if csr is None:
        svid = authority.issue(wanted, now, ttl)
        chain, end, serial, key = (
            svid.certificate_chain,
            svid.not_after,
            svid.serial,
            svid.private_key,
        )
    else:
        chain, end, serial = _signed(authority, csr, wanted, now, ttl)
    written = _write(out, chain, key, authority.bundle().pem)
    _say(
        output,
        {
            "spiffe_id": str(wanted),
            "serial": f"{serial:x}",
            "not_after": _date(end),
            "files": [str(path) for path in written],
        },
        f"{wanted} until {_date(end)}, serial {serial:x}\n" + "\n".join(map(str, written)),
    )


@ca.command(epilog=example("meshlib ca rotate"))
@ca_option
@click.option(
    "--emergency",
    is_flag=True,
    help="Do not wait; what older roots signed is refused from now on.",
)
@output_option()
def rotate(folder: Path, output: str, *, emergency: bool) -> None:
    """Prepare the next root now; it is signed with when all have had the time to hear of it."""
    authority, now = _open(folder), _now()
    slot = authority.rotate(now, emergency=emergency)
    moment = None if slot.stage == "active" else authority.next_moment()
    when = "is active" if moment is None else f"becomes active at {_date(moment)}"
    _say(
        output,
        {
            "root": slot.name,
            "active_at": None if moment is None else _date(moment),
            "roots": _roots(authority),
        },
        f"root {slot.name} {when}",
    )


@ca.command(epilog=example("meshlib ca revoke spiffe://cluster.local/ns/default/sa/reviews"))
@click.argument("name", metavar="SERIAL|SPIFFE-ID")
@ca_option
@click.option("--undo", is_flag=True, help="Believe it again, and what was denied with it.")
@output_option()
def revoke(name: str, folder: Path, output: str, *, undo: bool) -> None:
    """Deny a certificate by its serial number, or an id and all that it has.

    With a certificate those are denied that it was renewed by, and those that it renewed.
    """
    authority = _open(folder)
    if undo:
        free = authority.readmit(name)
        told = {"name": free.name, "revoked": False, "more": list(free.more)}
        _say(output, told, f"{free.name} is believed again{_renewals(free)}")
        return
    done = authority.revoke(name, _now())
    _say(
        output,
        {"name": done.name, "revoked": True, "id": done.owner or None, "more": list(done.more)},
        _told(done),
    )


def _told(done: "Revoked") -> str:
    if "://" in done.name:
        return f"{done.name} is revoked"
    if not done.owner:
        return (
            f"{done.name} is revoked; whose it is is not known here, so neither is what it was "
            "renewed by\nNext: revoke the SPIFFE id, if that is to be stopped"
        )
    return (
        f"{done.name} is revoked{_renewals(done)}; it is of {done.owner}\n"
        f"Next: meshlib ca revoke {done.owner}, if its other certificates are not to be believed"
    )


def _renewals(done: "Revoked") -> str:
    return f", and so are {len(done.more)} of its renewals" if done.more else ""


@ca.command(epilog=example("meshlib ca federate other.example bundle.pem"))
@click.argument("trust_domain", metavar="TRUST-DOMAIN")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(exists=True, dir_okay=False))
@ca_option
@output_option()
def federate(trust_domain: str, bundle: str, folder: Path, output: str) -> None:
    """Believe members of another trust domain by its roots; an empty file: believe none."""
    from ..identity.credentials import IdentityError
    from ..identity.spiffe import TrustDomain

    authority, domain = _open(folder), TrustDomain.parse(trust_domain)
    try:
        made = authority.federate(domain, Path(bundle).read_bytes())
    except IdentityError as refused:
        raise MeshError(f"{bundle}: {refused}") from refused
    found = {"trust_domain": str(domain), "roots": len(made.roots), "sequence": made.sequence}
    said = f"by {len(made.roots)} roots" if made.roots else "no more"
    _say(output, found, f"members of {domain} are believed {said}")


@ca.command(epilog=example("meshlib ca show -o json"))
@ca_option
@output_option()
def show(folder: Path, output: str) -> None:
    """Show the roots and who is revoked. Exit code 1 where the CA cannot sign now."""
    authority, now = _open(folder), _now()
    active = next(slot for slot in authority.slots if slot.stage == "active")
    revoked, federated = sorted(authority.revoked), authority.federated()
    if output == "json":
        print_json(
            {
                "trust_domain": str(authority.trust_domain),
                "sequence": authority.bundle().sequence,
                "roots": _roots(authority),
                "revoked": revoked,
                "federated": {one.trust_domain: len(one.roots) for one in federated},
                "next_step": _date(authority.next_moment()),
            }
        )
    else:
        rows = [tuple(value or "-" for value in _row(slot).values()) for slot in authority.slots]
        print_table(("ROOT", "STAGE", "NOT AFTER", "RETIRES"), rows)
        for name in revoked:
            click.echo(f"revoked  {name}")
        for one in federated:
            click.echo(f"federated  {one.trust_domain}, {len(one.roots)} roots")
        click.echo(f"Trust domain {authority.trust_domain}, {len(revoked)} revoked.")
    raise SystemExit(0 if active.not_before <= now < active.not_after else 1)


@ca.command(epilog=example("meshlib ca root > root.pem", "meshlib ca root --hash"))
@ca_option
@click.option("--hash", "pin", is_flag=True, help="Only sha256:… of the root that signs now.")
def root(folder: Path, *, pin: bool) -> None:
    """Print the roots, for MESHLIB_CA_ROOT of the members."""
    authority = _open(folder)
    if not pin:
        click.echo(authority.bundle().pem, nl=False)
        return
    active = next(n for n, slot in enumerate(authority.slots) if slot.stage == "active")
    der = PEM_cert_to_DER_cert(authority.bundle().roots[active].decode())
    click.echo(f"sha256:{sha256(der).hexdigest()}")


@ca.command(epilog=example("meshlib ca token --id spiffe://cluster.local/ns/default/sa/reviews"))
@ca_option
@id_option
@duration_option("--life", "10m", "At most 10m.")
@output_option()
def token(folder: Path, spiffe_id: str, life: float, output: str) -> None:
    """Make a join token: it is worth one certificate, for this id."""
    from ..identity.spiffe import SpiffeId
    from ..identity.store import FolderStore
    from ..identity.tokens import JoinTokens

    authority, wanted, now = _open(folder), SpiffeId.parse(spiffe_id), _now()
    authority.check_askable(wanted)
    made = JoinTokens(FolderStore(folder)).create(wanted, now, life)
    told = {"token": made, "spiffe_id": str(wanted), "expires": _date(now + life)}
    _say(output, told, made)


def _open(folder: Path) -> "Authority":
    from ..identity.authority import Authority
    from ..identity.store import FolderStore

    if not (folder.is_dir() and any(folder.iterdir())):
        raise MeshError(f"{folder}: there is no CA\nNext: meshlib ca init --ca {folder}")
    return Authority(FolderStore(folder))


def _signed(
    authority: "Authority", csr: Path, spiffe_id: "SpiffeId", now: float, ttl: float
) -> tuple[bytes, float, int]:
    from ..identity.credentials import IdentityError
    from ..identity.csr import parse_csr

    try:
        request = parse_csr(csr.read_bytes())
        request.check_asks_for(spiffe_id)
    except IdentityError as refused:
        raise MeshError(f"{csr}: {refused}") from refused
    issued = authority.sign(request.public_key, spiffe_id, now, ttl)
    return issued.certificate_chain, issued.not_after, issued.serial


def _write(out: Path, chain: bytes, key: bytes | None, bundle: bytes) -> list[Path]:
    """The key first: whoever sees the certificate finds what belongs to it."""
    from ..identity.private_files import write_file

    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = [("key.pem", key, 0o600), ("bundle.pem", bundle, 0o644), ("svid.pem", chain, 0o644)]
    written = []
    for name, content, mode in files:
        if content is not None:
            write_file(out / name, content, mode)
            written.append(out / name)
    return written


def _roots(authority: "Authority") -> list[dict[str, str | None]]:
    return [_row(slot) for slot in authority.slots]


def _row(slot: "Slot") -> dict[str, str | None]:
    return {
        "name": slot.name,
        "stage": str(slot.stage),
        "not_after": _date(slot.not_after),
        "retires": None if slot.retire_at is None else _date(slot.retire_at),
    }


def _say(output: str, found: dict[str, Any], text: str) -> None:
    if output == "json":
        print_json(found)
    else:
        click.echo(text)


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now() -> float:
    return time.time()  # noqa: TID251 - what certificates go by, read at the edge
