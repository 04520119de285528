"""Whatever is written in place of a manifest: it is served, or refused with its place."""

import yaml

from meshlib.controlplane import Scope, compile_snapshot
from meshlib.controlplane.findings import findings_of
from meshlib.controlplane.manifests import load_documents, read_texts
from meshlib.errors import ConfigError
from meshlib.model.snapshot import ROOMS
from meshlib.xds.codec import decode, encode

FILE = "bent.yaml"
SCOPES = (
    Scope(),
    Scope("shop", (("app", "reviews"), ("version", "v1")), server_listeners=("grpc/9080",)),
)
BOTH = frozenset({True, False})


def is_served(text):
    world, said = read_texts([(FILE, text)])
    if [check_finding(one) for one in said].count("error"):
        return False
    if [check_finding(one) for one in findings_of(world)].count("error"):
        return False
    for scope in SCOPES:
        check_snapshot(world, scope)
    return True


def check_finding(finding):
    """It says where, and it is one line of a log."""
    assert finding.place.file == FILE
    assert finding.message
    assert str(finding.problem).isprintable()
    assert len(str(finding.problem)) < 2000
    return finding.severity


def check_refusal(refused):
    assert refused.problems
    assert all(problem.where for problem in refused.problems)


def check_snapshot(world, scope):
    """All of it is such that its receivers take it."""
    try:
        snapshot = compile_snapshot(world, scope)
    except ConfigError as refused:
        check_refusal(refused)
        return
    snapshot.check()
    for room in ROOMS:
        for resource in getattr(snapshot, room).values():
            packed = encode(resource)
            decode(packed.type_url, packed.value)


def test_the_corpus_itself_is_served(good_file):
    assert is_served(good_file.read_text(encoding="utf-8"))


def test_what_is_hostile_is_refused(hostile_file, fuzz):
    text = hostile_file.read_text(encoding="utf-8")
    fuzz(lambda _: text, is_served, rounds=1, sees=frozenset({False}))


def test_a_bent_manifest_is_served_or_refused_with_its_place(good_file, bend_documents, fuzz):
    documents = list(yaml.safe_load_all(good_file.read_text(encoding="utf-8")))
    fuzz(lambda seed: bend_documents(documents, seed), is_served, rounds=60, sees=BOTH)


def test_a_bent_text_is_served_or_refused_with_its_place(good_file, bend_text, fuzz):
    text = good_file.read_text(encoding="utf-8")
    fuzz(lambda seed: bend_text(text, seed), is_served, rounds=60)


def test_documents_that_are_values_already_are_served_or_refused(good_file, bend_documents, fuzz):
    documents = list(yaml.safe_load_all(good_file.read_text(encoding="utf-8")))

    def attempt(text):
        try:
            load_documents(list(yaml.safe_load_all(text)))
        except ConfigError as refused:
            check_refusal(refused)

    fuzz(lambda seed: bend_documents(documents, seed), attempt, rounds=60)
