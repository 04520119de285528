"""SPIFFE ids and trust domains (SPIFFE-ID.md): read strictly, so that each has one spelling."""

import re
from dataclasses import dataclass

from .credentials import IdentityError

SCHEME = "spiffe"
LONGEST_ID = 2048
LONGEST_TRUST_DOMAIN = 255
SHOWN = 80

_NOT_IN_TRUST_DOMAIN = re.compile(r"[^a-z0-9._-]")
_NOT_IN_SEGMENT = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    """``cluster.local``: whom a set of roots vouches for. Always a valid one."""

    name: str

    def __post_init__(self) -> None:
        _check_trust_domain(self.name, self.name, 0)

    @classmethod
    def parse(cls, text: str) -> "TrustDomain":
        """From a name, or from any SPIFFE id in the domain."""
        return SpiffeId.parse(text).trust_domain if ":/" in text else cls(text)

    @property
    def id(self) -> str:
        """The id that its signing certificates carry."""
        return f"{SCHEME}://{self.name}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """``spiffe://trust_domain/path``; ``path`` may be empty. Always a valid one."""

    trust_domain: TrustDomain
    path: str = ""

    def __post_init__(self) -> None:
        text = str(self)
        if len(text) > LONGEST_ID:
            raise _wrong(text, f"{len(text)} characters are more than {LONGEST_ID}")
        _check_path(self.path, text, len(text) - len(self.path))

    @classmethod
    def parse(cls, text: str) -> "SpiffeId":
        """Raises :class:`IdentityError` that says what is wrong, and at which character."""
        if not text:
            raise IdentityError("a SPIFFE id cannot be empty")
        if len(text) > LONGEST_ID:
            raise _wrong(text, f"{len(text)} characters are more than {LONGEST_ID}")
        scheme, separator, rest = text.partition("://")
        if not separator or scheme.lower() != SCHEME:
            raise _wrong(text, "it does not begin with spiffe://")
        name, slash, path = rest.partition("/")
        _check_trust_domain(name, text, len(SCHEME) + 3)
        return cls(TrustDomain(name), slash + path)

    @classmethod
    def of_workload(cls, trust_domain: TrustDomain, namespace: str, account: str) -> "SpiffeId":
        """As Istio names a service account's workloads."""
        for part in (namespace, account):
            if "/" in part:
                raise IdentityError(f"{part!r} is not the name of a namespace or account")
        return cls(trust_domain, f"/ns/{namespace}/sa/{account}")

    def __str__(self) -> str:
        return f"{SCHEME}://{self.trust_domain}{self.path}"


def _check_trust_domain(name: str, text: str, start: int) -> None:
    if not name:
        raise _wrong(text, "the trust domain is missing")
    alien = _NOT_IN_TRUST_DOMAIN.search(name)
    if alien:
        raise _wrong(
            text,
            f"character {start + alien.start() + 1} is {alien.group()!a}; a trust domain"
            " has lower-case letters, digits, '.', '-' and '_' only",
        )
    if len(name) > LONGEST_TRUST_DOMAIN:
        raise _wrong(text, f"its trust domain is longer than {LONGEST_TRUST_DOMAIN} characters")


def _check_path(path: str, text: str, start: int) -> None:
    if not path:
        return
    if path[0] != "/":
        raise _wrong(text, f"its path does not begin with '/' at character {start + 1}")
    if path[-1] == "/":
        raise _wrong(text, f"its path ends with '/' at character {start + len(path)}")
    at = start + 1
    for segment in path[1:].split("/"):
        alien = _NOT_IN_SEGMENT.search(segment)
        if alien:
            raise _wrong(
                text,
                f"character {at + alien.start() + 1} is {alien.group()!a}; a path has letters,"
                " digits, '.', '-' and '_' between its slashes only",
            )
        if segment in ("", ".", ".."):
            raise _wrong(text, f"its path has the segment {segment!r} at character {at + 1}")
        at += len(segment) + 1


def _wrong(text: str, what: str) -> IdentityError:
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return IdentityError(f"{shown!a} is no SPIFFE id: {what}")
