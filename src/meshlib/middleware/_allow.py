"""The mark that says who may call a handler."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from ..model import Exact, ListMatch, MetadataMatcher, OrMatch, Prefix, SafeRegex, Suffix
from ..model.rbac import (
    AndRules,
    AnyRule,
    Authenticated,
    MetadataRule,
    OrRules,
    Policy,
    Rbac,
    RbacRules,
    Rule,
)
from ._peer import TOKENS
from .decorators import marking

H = TypeVar("H")

Text = Exact | Prefix | Suffix | SafeRegex
PAYLOAD = "payload"
"""Where Istio's configurations have the claims of a token noted."""
SCHEME = "spiffe://"
PRINCIPAL = re.compile(r"[a-z0-9._-]+(/[A-Za-z0-9._-]+)+")
NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
ANYTHING = SafeRegex(".+")


def allow(
    *,
    principals: Sequence[str] = (),
    namespaces: Sequence[str] = (),
    request_principals: Sequence[str] = (),
    claims: Mapping[str, str | Sequence[str]] | None = None,
) -> Callable[[H], H]:
    """Let nobody call this handler but who is named here, as an AuthorizationPolicy would.

    ``principals`` are SPIFFE ids without their scheme ("cluster.local/ns/shop/sa/cart"),
    ``namespaces`` those of their ids, ``request_principals`` "issuer/subject" of a verified token
    and ``claims`` what it must say besides, each one value or several of which one will do (of a
    claim that is a list, one item). Of each kind one has to fit, and of all kinds that are given.
    A ``*`` at the beginning or the end of a principal or a claim, or alone, is anything. Others
    are answered with 403 or PERMISSION_DENIED. Configured policies that allow win over this;
    those that only deny stand beside it.

    Raises :class:`ValueError` for a name that is none, and where nobody is named.
    """
    parts: list[Rule] = [
        *_either(principals, _principal),
        *_either(namespaces, _namespace),
        *_either(request_principals, _request_principal),
    ]
    for name, values in (claims or {}).items():
        listed = (values,) if isinstance(values, str) else values
        parts += _either(listed, partial(_claim, name)) or [_nobody(name)]
    if not parts:
        raise ValueError("name somebody who may call: principals, namespaces, tokens or claims")
    policy = Policy(name="allow", permissions=(AnyRule(),), principals=(AndRules(tuple(parts)),))
    return marking("allow", Rbac(rules=RbacRules(policies=(policy,))))


def _nobody(claim: str) -> NoReturn:
    raise ValueError(f"no value of the claim {claim!r} would do")


def _either(values: Sequence[Any], make: Callable[[str], Rule]) -> list[Rule]:
    if isinstance(values, str):
        raise ValueError(f"a list of names is wanted, not {values!r}")  # noqa: TRY004 - as below
    for value in values:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise ValueError(f"{value!r} names nobody")
    return [OrRules(tuple(map(make, values)))] if values else []


def _text(value: str) -> Text:
    if value == "*":
        return ANYTHING
    if value.startswith("*"):
        return Suffix(value[1:])
    return Prefix(value[:-1]) if value.endswith("*") else Exact(value)


def _principal(value: str) -> Rule:
    name = value.removeprefix(SCHEME)
    bare = name.strip("*")
    if name != "*" and (("*" in bare) or not (PRINCIPAL.fullmatch(name) or bare != name)):
        raise ValueError(f"{value!r} is no principal such as 'cluster.local/ns/shop/sa/cart'")
    if name == "*":
        return Authenticated(Prefix(SCHEME))
    if name.startswith("*"):
        return AndRules((Authenticated(Prefix(SCHEME)), Authenticated(Suffix(name[1:]))))
    if name.endswith("*"):
        return Authenticated(Prefix(SCHEME + name[:-1]))
    return Authenticated(Exact(SCHEME + name))


def _namespace(value: str) -> Rule:
    """Its characters mean nothing else in a regular expression."""
    if NAMESPACE.fullmatch(value) is None:
        raise ValueError(f"{value!r} is no namespace")
    return Authenticated(SafeRegex(f"{SCHEME}[^/]+/ns/{value}/sa/[^/]+"))


def _request_principal(value: str) -> Rule:
    if value == "*":
        return AndRules((_noted("iss", ANYTHING), _noted("sub", ANYTHING)))
    issuer, slash, subject = value.rpartition("/")
    if not slash or not issuer or not subject or "*" in issuer[1:] or "*" in subject[:-1]:
        raise ValueError(f"{value!r} is no 'issuer/subject'")
    return AndRules((_noted("iss", _text(issuer)), _noted("sub", _text(subject))))


def _claim(name: str, value: str) -> Rule:
    text = _text(value)
    return _noted(name, OrMatch((text, ListMatch(text))))


def _noted(claim: str, match: Text | OrMatch) -> Rule:
    return MetadataRule(MetadataMatcher(filter=TOKENS, path=(PAYLOAD, claim), match=match))
