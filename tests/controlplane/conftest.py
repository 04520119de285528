"""Worlds out of YAML text."""

from pathlib import Path

import pytest

from meshlib.controlplane.manifests import accepted, read_texts


@pytest.fixture
def world_of():
    """``world_of(yaml, …)``: the texts as the files a.yaml, b.yaml, … of one world."""

    def load(*texts: str):
        return accepted(*read_texts(named(texts)))

    return load


@pytest.fixture
def problems_of():
    """What is refused, each as ``(code, place, message)``."""

    def load(*texts: str):
        _, findings = read_texts(named(texts))
        return [(f.code, str(f.place), f.message) for f in findings if f.severity == "error"]

    return load


def named(texts):
    return [(Path(f"{'abcdef'[index]}.yaml"), text) for index, text in enumerate(texts)]
