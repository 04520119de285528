"""Resources bent at random, and again the same way by the same seed."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from meshlib.xds.protos import from_json, message_class

CORPUS = Path(__file__).parent / "corpus"
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1, 7, 100, 65536)
REALS = (0.0, -1.0, 1e308, float("inf"), float("nan"), 0.5)
TEXTS = ("", "*", "a", "\0", "é", "x" * 300, "%", "{", "(", "a" * 40 + "!", "127.0.0.1", ":", "/..")
URLS = ("", "type.googleapis.com/envoy.Unheard", "type.googleapis.com/google.protobuf.Struct")
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Mutator:
    """One change of one seed: by the descriptors, so that most of what comes out still parses."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def bend(self, message: Any, depth: int = 0) -> None:
        """Change the message somewhere, at any depth, within what an ``Any`` holds too."""
        inner = [value for _, value in message.ListFields()]
        children = [c for value in inner for c in _messages(value)]
        if children and depth < 30 and self._dice.random() < 0.75:
            child = self._dice.choice(children)
            if child.DESCRIPTOR.full_name == "google.protobuf.Any" and self._dice.random() < 0.8:
                self._bend_packed(child, depth)
            else:
                self.bend(child, depth + 1)
            return
        self._change(message)

    def _bend_packed(self, packed: Any, depth: int) -> None:
        try:
            held = message_class(packed.type_url.rpartition("/")[2]).FromString(packed.value)
        except (KeyError, DecodeError):
            self._change(packed)
            return
        self.bend(held, depth + 1)
        packed.value = held.SerializeToString()

    def _change(self, message: Any) -> None:
        fields = message.DESCRIPTOR.fields
        if not fields:
            return
        if message.DESCRIPTOR.full_name == "google.protobuf.Any":
            self._change_packed(message)
            return
        field = self._dice.choice(fields)
        if _is_map(field) or self._dice.random() < 0.25:
            message.ClearField(field.name)
        elif field.is_repeated:
            self._repeat(message, field)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            getattr(message, field.name).SetInParent()
        else:
            setattr(message, field.name, self._value(field))

    def _change_packed(self, packed: Any) -> None:
        if self._dice.random() < 0.5:
            packed.type_url = self._dice.choice(URLS)
        else:
            packed.value = packed.value[: self._dice.randrange(len(packed.value) + 1)]

    def _repeat(self, message: Any, field: FieldDescriptor) -> None:
        held = getattr(message, field.name)
        if field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
            held.extend([self._value(field)] * self._dice.choice([1, 2]))
        elif held and self._dice.random() < 0.7:
            held.add().CopyFrom(self._dice.choice(held))
        else:
            held.add()

    def _value(self, field: FieldDescriptor) -> Any:
        if field.cpp_type in INTEGERS:
            low, high = INTEGERS[field.cpp_type]
            return self._dice.choice([n for n in NUMBERS if low <= n <= high])
        if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
            return self._dice.choice(REALS)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self._dice.random() < 0.5
        if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return self._dice.choice([v.number for v in field.enum_type.values] + [99, -1])
        text: str = self._dice.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text

    def cut(self, encoded: bytes) -> bytes:
        """Bytes dropped from the end, or changed: most of this is garbage."""
        if not encoded or self._dice.random() < 0.5:
            return encoded[: self._dice.randrange(len(encoded) + 1)]
        bent = bytearray(encoded)
        bent[self._dice.randrange(len(bent))] = self._dice.randrange(256)
        return bytes(bent)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _messages(value: Any) -> list[Any]:
    if hasattr(value, "DESCRIPTOR"):
        return [value]
    if hasattr(value, "values") and hasattr(value, "keys"):
        return [each for each in value.values() if hasattr(each, "DESCRIPTOR")]
    many = isinstance(value, str | bytes | int | float | bool)
    return [] if many else [each for each in value if hasattr(each, "DESCRIPTOR")]


@pytest.fixture(scope="session")
def mutated() -> Callable[[Any, int], Any]:
    """``mutated(message, seed)``: a copy with one to four changes."""

    def bend(message: Any, seed: int) -> Any:
        copy, mutator = type(message)(), Mutator(seed)
        copy.CopyFrom(message)
        for _ in range(1 + seed % 4):
            mutator.bend(copy)
        return copy

    return bend


@pytest.fixture(scope="session")
def cut() -> Callable[[bytes, int], bytes]:
    return lambda encoded, seed: Mutator(seed).cut(encoded)


@pytest.fixture(params=sorted(path.name for path in CORPUS.glob("*.json")))
def seed_of_corpus(request: pytest.FixtureRequest) -> Any:
    """A resource of the corpus, packed as it would be sent."""
    text = (CORPUS / str(request.param)).read_text(encoding="utf-8")
    return from_json(json.loads(text), where=str(request.param))
