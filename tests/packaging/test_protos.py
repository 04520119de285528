"""Our own protos, as the build reads them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def packer(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("packer", root / "tools/pack_descriptors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fields_maps_and_enums_are_read(packer: ModuleType) -> None:
    text = """
        syntax = "proto3";
        package a.b;
        import "c/d.proto";
        message One {
          repeated string names = 1;
          map<string, uint32> by_name = 2;
          Kind kind = 3;
          enum Kind { NONE = 0; SOME = 2; }
        }
    """
    file = packer.Proto3(text).file("a/b.proto")
    assert (file.name, file.package, file.syntax) == ("a/b.proto", "a.b", "proto3")
    assert list(file.dependency) == ["c/d.proto"]
    (one,) = file.message_type
    told = [(field.name, field.number, field.type_name) for field in one.field]
    assert told == [("names", 1, ""), ("by_name", 2, "ByNameEntry"), ("kind", 3, "Kind")]
    (entry,) = one.nested_type
    assert entry.options.map_entry
    assert [field.name for field in entry.field] == ["key", "value"]
    assert [(value.name, value.number) for value in one.enum_type[0].value] == [
        ("NONE", 0),
        ("SOME", 2),
    ]


@pytest.mark.parametrize(
    "text",
    ["service S { rpc Get (A) returns (B); }", "message A { oneof b { string c = 1; } }"],
)
def test_what_is_not_understood_is_not_packed(packer: ModuleType, text: str) -> None:
    with pytest.raises(SystemExit, match="not understood"):
        packer.Proto3(text).file("a.proto")
