"""What is said to a CA and by it: Istio's CA service, and how ours tells of roots and denials.

A pool of their own keeps these messages apart from those of other packages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from .credentials import Bundle, IdentityError

CERTIFICATES = "istio.v1.auth.IstioCertificateService"
TRUST = "meshlib.ca.v1.TrustService"

_ISTIO = """
name: "security/v1alpha1/ca.proto" package: "istio.v1.auth" syntax: "proto3"
dependency: "google/protobuf/struct.proto"
message_type {
  name: "IstioCertificateRequest"
  field { name: "csr" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "validity_duration" number: 3 label: LABEL_OPTIONAL type: TYPE_INT64 }
  field {
    name: "metadata" number: 4 label: LABEL_OPTIONAL type: TYPE_MESSAGE
    type_name: ".google.protobuf.Struct"
  }
}
message_type {
  name: "IstioCertificateResponse"
  field { name: "cert_chain" number: 1 label: LABEL_REPEATED type: TYPE_STRING }
}
"""
_OURS = """
name: "meshlib/ca/v1/trust.proto" package: "meshlib.ca.v1" syntax: "proto3"
message_type {
  name: "TrustRequest"
  field { name: "sequence" number: 1 label: LABEL_OPTIONAL type: TYPE_INT64 }
}
message_type {
  name: "Bundle"
  field { name: "trust_domain" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "roots" number: 2 label: LABEL_REPEATED type: TYPE_BYTES }
  field { name: "sequence" number: 3 label: LABEL_OPTIONAL type: TYPE_INT64 }
}
message_type {
  name: "TrustResponse"
  field { name: "trust_domain" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "roots" number: 2 label: LABEL_REPEATED type: TYPE_BYTES }
  field { name: "sequence" number: 3 label: LABEL_OPTIONAL type: TYPE_INT64 }
  field { name: "revoked" number: 4 label: LABEL_REPEATED type: TYPE_STRING }
  field {
    name: "federated" number: 5 label: LABEL_REPEATED type: TYPE_MESSAGE
    type_name: ".meshlib.ca.v1.Bundle"
  }
}
"""


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """``validity`` in seconds; 0 leaves it to the CA."""

    csr: bytes
    validity: float = 0.0


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe: the roots of the CA's trust domain and of others, and who is revoked."""

    bundle: Bundle
    revoked: frozenset[str] = frozenset()
    federated: tuple[Bundle, ...] = ()


def encode_request(request: CertificateRequest) -> bytes:
    message = _new("istio.v1.auth.IstioCertificateRequest")
    message.csr, message.validity_duration = request.csr.decode("ascii"), int(request.validity)
    return bytes(message.SerializeToString())


def decode_request(content: bytes) -> CertificateRequest:
    """Raises :class:`IdentityError` for bytes that are none."""
    message = _read("istio.v1.auth.IstioCertificateRequest", content)
    return CertificateRequest(message.csr.encode(), float(message.validity_duration))


def encode_chain(chain: Sequence[bytes]) -> bytes:
    """PEM, the leaf first and the root last."""
    message = _new("istio.v1.auth.IstioCertificateResponse")
    message.cert_chain.extend(one.decode("ascii") for one in chain)
    return bytes(message.SerializeToString())


def decode_chain(content: bytes) -> tuple[bytes, ...]:
    message = _read("istio.v1.auth.IstioCertificateResponse", content)
    return tuple(one.encode() for one in message.cert_chain)


def encode_heard(sequence: int) -> bytes:
    """A member says which bundle it goes by."""
    message = _new("meshlib.ca.v1.TrustRequest")
    message.sequence = sequence
    return bytes(message.SerializeToString())


def decode_heard(content: bytes) -> int:
    return int(_read("meshlib.ca.v1.TrustRequest", content).sequence)


def encode_trust(trust: Trust) -> bytes:
    message = _new("meshlib.ca.v1.TrustResponse")
    _write_bundle(message, trust.bundle)
    for bundle in trust.federated:
        _write_bundle(message.federated.add(), bundle)
    message.revoked.extend(sorted(trust.revoked))
    return bytes(message.SerializeToString())


def decode_trust(content: bytes) -> Trust:
    message = _read("meshlib.ca.v1.TrustResponse", content)
    federated = tuple(_read_bundle(one) for one in message.federated)
    return Trust(_read_bundle(message), frozenset(message.revoked), federated)


def _write_bundle(message: Any, bundle: Bundle) -> None:
    message.trust_domain, message.sequence = bundle.trust_domain, bundle.sequence
    message.roots.extend(bundle.roots)


def _read_bundle(message: Any) -> Bundle:
    return Bundle(
        trust_domain=message.trust_domain, roots=tuple(message.roots), sequence=message.sequence
    )


def _new(name: str) -> Any:
    return _class(name)()


def _read(name: str, content: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return _class(name).FromString(content)
    except DecodeError as error:
        raise IdentityError(f"not a {name.rpartition('.')[2]}") from error


@cache
def _class(name: str) -> Any:
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _pool() -> Any:
    from google.protobuf import struct_pb2, text_format
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    for text in (_ISTIO, _OURS):
        file = text_format.Parse(text, FileDescriptorProto())
        pool.AddSerializedFile(file.SerializeToString())
    return pool
