"""What the compiler makes of manifests, as a reader would write it down.

A ``.in.yaml`` may begin with ``# scope: namespace key=value``. The ``.out.yaml`` holds the
snapshot without the values that are the model's defaults.
"""

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest
import yaml

from meshlib.controlplane import Scope, compile_snapshot
from meshlib.controlplane.manifests import accepted, read_texts
from meshlib.model import Metadata

FOLDER = Path(__file__).parent / "compile"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in FOLDER.glob("*.in.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_manifests_compile_to_what_is_written_down(case, update_golden):
    text = (FOLDER / f"{case}.in.yaml").read_text()
    world = accepted(*read_texts([(Path(f"{case}.yaml"), text)]))
    snapshot = compile_snapshot(world, scope_of(text))
    snapshot.check()

    made = {
        kind: {name: plain(value) for name, value in getattr(snapshot, kind).items()}
        for kind in ("listeners", "routes", "clusters", "endpoints")
    }
    shorten(made["routes"])
    golden = FOLDER / f"{case}.out.yaml"
    if update_golden:
        golden.write_text(yaml.safe_dump(made, sort_keys=False, width=100))
    assert yaml.safe_load(golden.read_text()) == made


def shorten(tables):
    """A host stands in its own table and in its port's: written out once."""
    seen = {}
    for name, table in tables.items():
        hosts = table["RouteConfiguration"]["virtual_hosts"]
        for index, host in enumerate(hosts):
            first = next((n for n, other in seen.items() if other == host), None)
            if first is not None:
                hosts[index] = f"as in {first}"
            seen.setdefault(name, host)


def scope_of(text: str) -> Scope:
    first = text.splitlines()[0]
    if not first.startswith("# scope:"):
        return Scope()
    namespace, *labels = first.removeprefix("# scope:").split()
    return Scope(namespace, tuple(tuple(label.split("=")) for label in labels))


def plain(value):
    if isinstance(value, Metadata):
        return value.source
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    if is_dataclass(value):
        said = {f.name: getattr(value, f.name) for f in fields(value) if differs(value, f)}
        return {type(value).__name__: {name: plain(item) for name, item in said.items()}}
    return value


def differs(value, field) -> bool:
    default = field.default if field.default is not MISSING else None
    return getattr(value, field.name) != default or field.default is MISSING
