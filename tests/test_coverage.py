"""The rooms that decide whom to trust: every branch is taken by their own tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src/meshlib"
TESTS = (
    "tests/identity",
    "tests/middleware/tls/test_mutual_tls.py",
    "tests/middleware/tls/test_permissive.py",
    "tests/middleware/tls/test_beyond_the_mesh.py",
    "tests/controlplane/server/test_ca.py",
    "tests/dataplane/test_rbac_bypasses.py",
    "tests/dataplane/routing/test_ip_ranges.py",
    "tests/dataplane/routing/test_uri_template.py",
    *(
        str(path.relative_to(ROOT))
        for kind in ("rbac", "jwt")
        for path in sorted(ROOT.glob(f"tests/dataplane/filters/test_{kind}*.py"))
    ),
)
JUDGED = (
    "identity/*.py",
    "dataplane/filters/rbac*.py",
    "dataplane/filters/jwt_authn.py",
    "dataplane/routing/ip_ranges.py",
    "dataplane/routing/uri_template.py",
)
# Lines and branches that are not taken yet, at most. A number may only shrink.
NOT_YET: dict[str, int] = {}
# The checker of types knows that a match is exhaustive: that no case holds is no branch.
CONFIGURATION = """
[run]
branch = true
source = src/meshlib
[report]
exclude_also = if TYPE_CHECKING:
partial_also = ^\\s*case .*:$
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What coverage says of each file."""
    folder = tmp_path_factory.mktemp("coverage")
    settings, report = folder / "settings", folder / "report.json"
    settings.write_text(CONFIGURATION)
    environment = {**os.environ, "COVERAGE_FILE": str(folder / "measured")}

    def coverage(*arguments):
        command = [sys.executable, "-m", "coverage", *arguments]
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    of = f"--rcfile={settings}"
    coverage("run", of, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
    coverage("json", of, "-o", str(report))
    files = json.loads(report.read_text())["files"]
    return {str(Path(name).resolve().relative_to(PACKAGE)): of for name, of in files.items()}


def judged():
    return sorted(
        str(path.relative_to(PACKAGE)) for pattern in JUDGED for path in PACKAGE.glob(pattern)
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", judged())
def test_every_branch_is_taken(measured, name):
    found = measured[name]
    missing = [str(line) for line in found["missing_lines"]]
    missing += [f"{line}→{to if to > 0 else 'exit'}" for line, to in found["missing_branches"]]
    allowed = NOT_YET.get(name, 0)
    assert len(missing) <= allowed, f"{name}: never taken: {', '.join(missing)}"


def test_an_exception_names_a_file_that_there_is():
    assert NOT_YET.keys() <= set(judged())
