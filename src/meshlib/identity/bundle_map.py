"""SPIFFE bundles as gRPC core reads them: the roots of each trust domain by itself (gRFC A87)."""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from .credentials import IdentityError


def bundle_map(roots: Mapping[str, bytes]) -> bytes:
    """JSON of PEM by trust domain. Raises :class:`IdentityError` for what is no root."""
    domains = {name: {"keys": _keys(pem, name)} for name, pem in roots.items()}
    return json.dumps({"trust_domains": domains}).encode()


def _keys(pem: bytes, domain: str) -> list[dict[str, Any]]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise IdentityError(f"the roots of {domain} cannot be read: {error}") from error
    return [
        {
            "kty": _kind(one, domain),
            "use": "x509-svid",
            "x5c": [b64encode(one.public_bytes(Encoding.DER)).decode()],
        }
        for one in found
    ]


def _kind(root: Any, domain: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    match root.public_key():
        case ec.EllipticCurvePublicKey():
            return "EC"
        case rsa.RSAPublicKey():
            return "RSA"
        case other:
            kind = type(other).__name__
            raise IdentityError(f"gRPC cannot read the roots of {domain}: a key of kind {kind}")
