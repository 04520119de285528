import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
LIGHT = ("credentials", "spiffe", "names", "leaf", "private_files", "store", "rotation", "tokens")


@pytest.mark.parametrize("room", LIGHT)
def test_who_speaks_in_plain_text_does_not_load_cryptography(room):
    program = f"import sys, meshlib.identity.{room}; sys.exit('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=SRC, check=False)
    assert done.returncode == 0
