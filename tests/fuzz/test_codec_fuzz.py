"""Whatever a resource was bent into: it is taken, or refused by name and field path.

``MESHLIB_FUZZ=100000`` bends each resource of the corpus so many times.
"""

import os
from typing import Any

import pytest

from meshlib.errors import ConfigError
from meshlib.xds.codec import decode, encode
from meshlib.xds.messages import GarbageError, decode_response
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

ROUNDS = int(os.environ.get("MESHLIB_FUZZ", "150"))
FIRST = int(os.environ.get("MESHLIB_FUZZ_SEED", "0"))
ROOMS = {LISTENER: "listeners", ROUTE: "routes", CLUSTER: "clusters", ENDPOINT: "endpoints"}

pytestmark = pytest.mark.timeout(0 if ROUNDS > 1000 else 60)


def is_settled(type_url: str, value: bytes) -> bool:
    """Taken, and then the same after more trips; or refused with a place for each problem."""
    try:
        decoded = decode(type_url, value)
    except ConfigError as refused:
        is_precise(refused, ROOMS[type_url])
        return False
    first = encode(decoded.resource).value  # a nanosecond in a hundred years is lost here
    second = encode(decode(type_url, first).resource).value
    assert encode(decode(type_url, second).resource).value == second
    return True


def is_precise(refused: ConfigError, room: str) -> None:
    name = getattr(refused, "name", "")
    start = f"{room}/{name}" if name else room
    assert refused.problems
    for problem in refused.problems:
        assert problem.where.startswith(start), (problem, start)
        assert problem.what


def test_the_corpus_itself_is_accepted(seed_of_corpus: Any) -> None:
    assert is_settled(seed_of_corpus.type_url, seed_of_corpus.value)


def test_a_bent_resource_is_taken_or_refused_by_name_and_path(
    seed_of_corpus: Any, mutated: Any
) -> None:
    name = seed_of_corpus.type_url.rpartition("/")[2]
    message = message_class(name).FromString(seed_of_corpus.value)
    taken = 0
    for seed in range(FIRST, FIRST + ROUNDS):
        bent = mutated(message, seed)
        try:
            taken += is_settled(seed_of_corpus.type_url, bent.SerializeToString())
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}\n{bent}") from error
    assert 0 < taken < ROUNDS, "both outcomes must be seen"


def test_http_options_of_another_type_are_refused_where_they_stand() -> None:
    cluster = message_class("envoy.config.cluster.v3.Cluster")(name="a")
    options = cluster.typed_extension_protocol_options[
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ]
    options.type_url = "type.googleapis.com/google.protobuf.Struct"
    with pytest.raises(ConfigError, match=r"clusters/a: typed_extension_protocol_options\[.*not a"):
        decode(CLUSTER, cluster.SerializeToString())


def test_broken_bytes_are_taken_or_refused(seed_of_corpus: Any, cut: Any) -> None:
    for seed in range(FIRST, FIRST + ROUNDS):
        value = cut(seed_of_corpus.value, seed)
        try:
            is_settled(seed_of_corpus.type_url, value)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r} of {value!r}") from error


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_a_bent_response_is_read_or_called_garbage(
    seed_of_corpus: Any, mutated: Any, cut: Any, delta: bool
) -> None:
    kind = "Delta" if delta else ""
    discovery = "envoy.service.discovery.v3"
    response = message_class(f"{discovery}.{kind}DiscoveryResponse")(
        type_url=seed_of_corpus.type_url, nonce="n"
    )
    if delta:
        response.resources.add(name="a", version="1", resource=seed_of_corpus)
    else:
        response.resources.append(seed_of_corpus)
    read = 0
    for seed in range(FIRST, FIRST + ROUNDS):
        encoded = mutated(response, seed).SerializeToString()
        for value in (encoded, cut(encoded, seed)):
            try:
                decode_response(value, delta=delta)
            except GarbageError:
                continue
            read += 1
    assert read >= ROUNDS
