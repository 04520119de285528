"""Whatever a resource was bent into: it is taken, or refused by name and field path."""

from typing import Any

import pytest

from meshlib.errors import ConfigError
from meshlib.xds.codec import decode, encode
from meshlib.xds.messages import GarbageError, decode_response
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

ROUNDS = 150
BOTH = frozenset({True, False})
ROOMS = {LISTENER: "listeners", ROUTE: "routes", CLUSTER: "clusters", ENDPOINT: "endpoints"}


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
    seed_of_corpus: Any, mutated: Any, fuzz: Any
) -> None:
    type_url = seed_of_corpus.type_url
    message = message_class(type_url.rpartition("/")[2]).FromString(seed_of_corpus.value)
    fuzz(
        lambda seed: typed(type_url, mutated(message, seed).SerializeToString()),
        is_settled_as_typed,
        rounds=ROUNDS,
        sees=BOTH,
    )


def typed(type_url: str, value: bytes) -> bytes:
    """A sample that says of itself what it is."""
    return type_url.encode() + b"\n" + value


def is_settled_as_typed(sample: bytes) -> bool:
    type_url, _, value = sample.partition(b"\n")
    return is_settled(type_url.decode(), value)


def test_http_options_of_another_type_are_refused_where_they_stand() -> None:
    cluster = message_class("envoy.config.cluster.v3.Cluster")(name="a")
    options = cluster.typed_extension_protocol_options[
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ]
    options.type_url = "type.googleapis.com/google.protobuf.Struct"
    with pytest.raises(ConfigError, match=r"clusters/a: typed_extension_protocol_options\[.*not a"):
        decode(CLUSTER, cluster.SerializeToString())


def test_broken_bytes_are_taken_or_refused(seed_of_corpus: Any, cut: Any, fuzz: Any) -> None:
    fuzz(
        lambda seed: typed(seed_of_corpus.type_url, cut(seed_of_corpus.value, seed)),
        is_settled_as_typed,
        rounds=ROUNDS,
    )


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
def test_a_bent_response_is_read_or_called_garbage(
    seed_of_corpus: Any, mutated: Any, cut: Any, fuzz: Any, delta: bool
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

    def make(seed: int) -> bytes:
        encoded: bytes = mutated(response, seed).SerializeToString()
        return encoded if seed % 2 else cut(encoded, seed)

    def is_read(encoded: bytes) -> bool:
        try:
            decode_response(encoded, delta=delta)
        except GarbageError:
            return False
        return True

    fuzz(make, is_read, rounds=2 * ROUNDS, sees=BOTH)
