"""Private keys: made here, P-256; those of others must be as strong."""

from pathlib import Path
from typing import TypeGuard

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from .credentials import IdentityError
from .private_files import read_private_file

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

CURVES = ("secp256r1", "secp384r1", "secp521r1")
RSA_BITS = range(2048, 4097)
"""Above that, one check of a signature is long enough to hurt whoever must make it."""


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(pem: bytes, where: str = "the key") -> PrivateKey:
    """Raises :class:`IdentityError`, in which no byte of the key appears."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # not chained: the parser's error may quote what it read
        raise IdentityError(f"{where}: not an unencrypted private key in PEM") from None
    weakness = weak(key.public_key())
    if weakness:
        raise IdentityError(f"{where}: {weakness}")
    assert isinstance(key, PrivateKey)
    return key


def load_key_file(path: Path) -> PrivateKey:
    """Refused where anybody but the owner may read it."""
    return load_key(read_private_file(path), str(path))


def weak(key: object) -> str:
    """Why a public key is not good enough; "" where it is."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in CURVES else f"the curve {key.curve.name} is not one of NIST"
    if isinstance(key, rsa.RSAPublicKey):
        return "" if key.key_size in RSA_BITS else f"an RSA key of {key.key_size} bits"
    return "a key that is neither EC nor RSA"


def is_strong(key: object) -> TypeGuard[PublicKey]:
    return not weak(key)
