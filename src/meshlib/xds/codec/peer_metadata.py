"""``x-envoy-peer-metadata``: base64 of a ``google.protobuf.Struct`` ⇄ :class:`PeerFacts`."""

from base64 import b64decode, b64encode

from google.protobuf.message import DecodeError

from ...model import Struct, Value
from ...model.workload import (
    APP,
    CANONICAL_NAME,
    CANONICAL_REVISION,
    LATEST,
    NOT_KNOWN,
    VERSION,
    PeerFacts,
    bounded,
)
from ..protos import message_class
from .metadata import encode_struct, read_struct

LONGEST = 4096
"""Octets of a header that is read."""


def encode_peer(facts: PeerFacts, instance: str) -> str:
    """What Istio's proxies tell of themselves, in the octets that they make of it."""
    labels = {
        APP: facts.app,
        CANONICAL_NAME: facts.canonical_service,
        CANONICAL_REVISION: facts.canonical_revision,
        VERSION: facts.version,
    }
    texts = {
        "CLUSTER_ID": facts.cluster,
        "NAME": instance,
        "NAMESPACE": facts.namespace,
        "WORKLOAD_NAME": facts.workload,
    }
    fields: dict[str, Value] = {**_known(texts), "LABELS": Struct(tuple(_known(labels).items()))}
    struct = Struct(tuple(sorted(fields.items())))
    message = message_class("google.protobuf.Struct")(**(encode_struct(struct) or {}))
    return b64encode(message.SerializeToString(deterministic=True)).decode()


def _known(texts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text and text != NOT_KNOWN}


def decode_peer(text: str) -> PeerFacts | None:
    """``None`` where it is nothing of the kind."""
    if len(text) > LONGEST:
        return None
    message = message_class("google.protobuf.Struct")()
    bare = text.rstrip("=")
    try:
        message.ParseFromString(b64decode(bare + "=" * (-len(bare) % 4), validate=True))
    except (ValueError, DecodeError):
        return None
    said = read_struct(message)
    if said is None or not said.fields:
        return None
    labels = said.get("LABELS")
    of = labels if isinstance(labels, Struct) else Struct()
    workload = _text(said, "WORKLOAD_NAME")
    return bounded(
        workload=workload,
        namespace=_text(said, "NAMESPACE"),
        canonical_service=_text(of, CANONICAL_NAME) or workload,
        canonical_revision=_text(of, CANONICAL_REVISION) or LATEST,
        app=_text(of, APP),
        version=_text(of, VERSION),
        cluster=_text(said, "CLUSTER_ID"),
    )


def _text(struct: Struct, name: str) -> str:
    value = struct.get(name)
    return value if isinstance(value, str) else ""
