"""Golden tests: ``*.in.yaml`` compiled and compared with ``*.out.yaml``."""

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files instead of comparing"
    )


@pytest.fixture
def update_golden(request) -> bool:
    # The option exists only where this folder was named on the command line.
    return bool(request.config.getoption("--update-golden", default=False))
