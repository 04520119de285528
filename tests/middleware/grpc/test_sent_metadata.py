"""What the mesh hands to grpcio is metadata as grpcio's own is."""

import copy

import grpc.aio
import pytest

from meshlib.middleware._grpc_request import ready_made

PAIRS = (("a", "1"), ("b", "2"), ("a", "3"), ("c-bin", b"4"))


def test_metadata_goes_out_pair_by_pair_in_its_order():
    assert tuple(ready_made(PAIRS)) == PAIRS
    assert len(ready_made(PAIRS)) == len(PAIRS)


def test_nothing_is_no_metadata():
    assert not ready_made(())
    assert ready_made(None) is None


def test_metadata_of_the_callers_own_stays_the_very_same():
    own = grpc.aio.Metadata(*PAIRS)
    assert ready_made(own) is own


@pytest.mark.parametrize(
    "look",
    [
        lambda made: made["a"],
        lambda made: made.get_all("a"),
        lambda made: "b" in made,
        lambda made: list(made.keys()),
        lambda made: list(made.values()),
        lambda made: list(made.items()),
        lambda made: made + grpc.aio.Metadata(("d", "5")),
        lambda made: made == grpc.aio.Metadata(*PAIRS),
        lambda made: copy.deepcopy(made) == made,
    ],
)
def test_whoever_looks_closer_sees_what_grpcio_would_have_made_of_it(look):
    assert look(ready_made(PAIRS)) == look(grpc.aio.Metadata(*PAIRS))


def test_whoever_adds_to_it_changes_nobody_elses():
    first, second = ready_made(PAIRS), ready_made(PAIRS)
    first.add("d", "5")
    del first["b"]
    assert sorted(first) == sorted([*(pair for pair in PAIRS if pair[0] != "b"), ("d", "5")])
    assert len(first) == 4
    assert tuple(second) == PAIRS
