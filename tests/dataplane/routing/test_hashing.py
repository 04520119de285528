import json
from itertools import islice
from pathlib import Path

import pytest

from meshlib.dataplane.routing.hashing import (
    HASHES,
    djb2_case_insensitive,
    mersenne_twister,
    murmur_hash_2,
    random_hash,
    xx_hash_64,
)
from meshlib.testing import always

NAMES = {
    "xxHash64": xx_hash_64,
    "murmurHash2": murmur_hash_2,
    "djb2CaseInsensitiveHash": djb2_case_insensitive,
}


def test_hashes_are_those_of_envoy(testdata: Path) -> None:
    vectors = json.loads((testdata / "envoy_vectors_public.json").read_text())["hash"]
    assert len(vectors) == 15
    for vector in vectors:
        assert NAMES[vector["fn"]](vector["input"]) == vector["expected"], vector


def test_long_texts_are_hashed_word_by_word() -> None:
    long = "127.0.0.1:8080_1023" * 3
    assert len({function(long[:n]) for function in HASHES.values() for n in range(40)}) == 80


def test_case_does_not_matter_to_djb2() -> None:
    assert djb2_case_insensitive("FOO") == djb2_case_insensitive("foo")


def test_the_twister_is_that_of_the_standard() -> None:
    # ISO C++ [rand.predef]: the 10000th number of a default-constructed std::mt19937.
    assert next(islice(mersenne_twister(5489), 9999, None)) == 4123659995


@pytest.mark.parametrize("roll", [0.0, 0.5, 1 - 2**-53])
def test_a_random_hash_has_64_bits(roll: float) -> None:
    assert 0 <= random_hash(always(roll)) < 2**64
