"""What a CA remembers of certificates that it gave out."""

import pytest

from meshlib.identity import ledger as ledgers
from meshlib.identity.credentials import IdentityError
from meshlib.identity.ledger import FILE, Ledger
from meshlib.identity.store import FolderStore, MemoryStore

ME = "spiffe://cluster.local/ns/default/sa/me"


@pytest.fixture(params=["folder", "memory"])
def store(request, folder):
    return folder if request.param == "folder" else MemoryStore()


def serials(ledger, serial, now=0.0):
    return [one.serial for one in ledger.of_line(serial, now)]


def test_what_was_renewed_is_of_one_line_from_any_end(store):
    ledger = Ledger(store)
    ledger.record("a", ME, 10.0, 0.0)
    ledger.record("b", ME, 20.0, 5.0, renewed="a")
    ledger.record("c", ME, 30.0, 15.0, renewed="b")
    ledger.record("x", ME, 30.0, 15.0)
    for serial in "abc":
        assert serials(ledger, serial, now=16.0) == ["b", "c"]
    assert serials(ledger, "x") == ["x"]
    assert ledger.owner("a") == ME
    assert ledger.owner("y") == ""


def test_what_was_renewed_by_one_that_nobody_remembers_is_of_its_line(store):
    ledger = Ledger(store)
    ledger.record("b", ME, 10.0, 0.0, renewed="a")
    assert serials(ledger, "a") == ["b"]


def test_it_is_remembered_by_the_next_program_and_beside_others(folder):
    mine, others = Ledger(folder), Ledger(FolderStore(folder.folder))
    mine.record("a", ME, 10.0, 0.0)
    others.record("b", ME, 10.0, 0.0, renewed="a")
    mine.record("c", ME, 10.0, 0.0, renewed="b")
    assert serials(mine, "a") == serials(others, "a") == ["a", "b", "c"]


def test_half_a_line_costs_no_other(folder):
    Ledger(folder).record("a", ME, 10.0, 0.0)
    folder.append(FILE, b'["b","a","spi')
    Ledger(folder).record("c", ME, 10.0, 0.0, renewed="a")
    assert serials(Ledger(folder), "a") == ["a", "c"]


def test_the_dead_are_forgotten_when_there_are_many(store, monkeypatch):
    monkeypatch.setattr(ledgers, "SPARE", 4)
    ledger = Ledger(store)
    for number in range(40):
        ledger.record(f"{number:x}", ME, number + 2.0, float(number), renewed="0")
    assert serials(ledger, "0", now=39.0) == ["26", "27"]
    assert len(store.read(FILE).split()) < 12
    assert serials(Ledger(store), "0", now=39.0) == ["26", "27"]


def test_a_ledger_that_others_may_read_is_refused(folder):
    ledger = Ledger(folder)
    ledger.record("a", ME, 10.0, 0.0)
    (folder.folder / FILE).chmod(0o644)
    with pytest.raises(IdentityError, match="0644"):
        ledger.record("b", ME, 10.0, 0.0)
