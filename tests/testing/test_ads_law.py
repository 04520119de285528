"""A checker that finds nothing proves nothing: each breach of the protocol is found and named."""

from typing import Any

import pytest

from meshlib.testing.ads_law import AdsLaw
from meshlib.xds.types import CLUSTER, ENDPOINT

Said = tuple[str, dict[str, Any]]


def ask(*names: str, version: str = "", nonce: str = "", **more: Any) -> Said:
    said = {"resource_names": list(names), "version_info": version, "response_nonce": nonce}
    return "sent", {"type_url": CLUSTER, **said, **more}


def tell(version: str, nonce: str) -> Said:
    said = {"version_info": version, "nonce": nonce, "resources": []}
    return "received", {"type_url": CLUSTER, **said}


def want(*names: str, **more: Any) -> Said:
    return "sent", {"type_url": ENDPOINT, "resource_names_subscribe": list(names), **more}


def drop(*names: str) -> Said:
    return "sent", {"type_url": ENDPOINT, "resource_names_unsubscribe": list(names)}


def send(nonce: str, *removed: str, **versions: str) -> Said:
    resources = [{"name": name, "version": version} for name, version in versions.items()]
    said = {"nonce": nonce, "resources": resources, "removed_resources": list(removed)}
    return "received", {"type_url": ENDPOINT, **said}


def ack(nonce: str, **more: Any) -> Said:
    return "sent", {"type_url": ENDPOINT, "response_nonce": nonce, **more}


def at_server(said: Said) -> Said:
    what, message = said
    return {"sent": "request", "received": "response"}[what], message


NEXT: Said = ("closed", {})
HELLO = {"node": True}
BAD = {"error_detail": {"message": "bad"}}
BEGUN = [ask("a", **HELLO), tell("1", "n1"), ask("a", version="1", nonce="n1")]
DELTA_BEGUN = [want("a", **HELLO), send("n1", a="1"), ack("n1")]

LAWFUL = {
    "an ACK": BEGUN,
    "a NACK with nothing accepted": [*BEGUN[:2], ask("a", nonce="n1", **BAD)],
    "a NACK keeps the version": [*BEGUN, tell("2", "n2"), ask("a", version="1", nonce="n2", **BAD)],
    "a new name": [*BEGUN, ask("a", "b", version="1", nonce="n1")],
    "all names dropped": [*BEGUN, ask(version="1", nonce="n1")],
    "a new stream": [*BEGUN, NEXT, ask("a", version="1", **HELLO)],
    "a resource and its versions": [
        *DELTA_BEGUN,
        NEXT,
        want("a", initial_resource_versions={"a": "1"}, **HELLO),
    ],
    "a name dropped": [*DELTA_BEGUN, drop("a")],
}
BREACHES = {
    "neither ACKed": [*BEGUN[:2], ask("a", "b")],
    "not the latest": [*BEGUN, ask("a", "b", version="1", nonce="n7")],
    "says nothing new": [*BEGUN, ask("a", version="1", nonce="n1")],
    "a NACK answers no response": [*BEGUN, ask("a", "b", version="1", nonce="n1", **BAD)],
    "but '1' is in force": [*BEGUN, tell("2", "n2"), ask("a", version="2", nonce="n2", **BAD)],
    "but '2' is in force": [*BEGUN, tell("2", "n2"), ask("a", version="1", nonce="n2")],
    "not accepted last": [*BEGUN, NEXT, ask("a", version="7", **HELLO)],
    "latest, ''": [*BEGUN, NEXT, ask("a", version="1", nonce="n1", **HELLO)],
    "the first request has no node": [ask("a")],
    "the node comes again": [*BEGUN[:2], ask("a", version="1", nonce="n1", **HELLO)],
    "asks for everything": [ask(**HELLO)],
    "after the end": [*BEGUN, NEXT, NEXT],
    "answers no response, or answers it again": [*DELTA_BEGUN, ack("n1")],
    "a request says nothing": [*DELTA_BEGUN, drop()],
    "asked for already": [*DELTA_BEGUN, want("a")],
    "never asked for": [*DELTA_BEGUN, drop("b")],
    "with the first request": [*DELTA_BEGUN, want("b", initial_resource_versions={"b": "1"})],
    "does not ask": [want("a", initial_resource_versions={"b": "1"}, **HELLO)],
    "never sent in '2'": [
        *DELTA_BEGUN,
        NEXT,
        want("a", initial_resource_versions={"a": "2"}, **HELLO),
    ],
}
OF_SERVERS = {
    "nobody asked for": [*DELTA_BEGUN, tell("1", "n2")],
    "empty, or not new": [*DELTA_BEGUN, send("n1", a="2")],
    "before the last was answered": [*DELTA_BEGUN, send("n2", a="2"), send("n3", a="3")],
    "was not asked for": [*DELTA_BEGUN, send("n2", b="1")],
    "sent and removed": [*DELTA_BEGUN, send("n2", "a", a="2")],
    "as it was": [*DELTA_BEGUN, send("n2", a="1")],
    "does not have": [*DELTA_BEGUN, send("n2", "a"), ack("n2"), send("n3", "a")],
}  # fmt: skip


def judged(log: list[Said], *, server: bool = False) -> AdsLaw:
    law, stream = AdsLaw(), 1
    delta = any("resource_names_subscribe" in message for _, message in log)
    for said in log:
        what, message = at_server(said) if server and said is not NEXT else said
        law(
            what, {"server": "" if server else "plane", "stream": stream, "delta": delta, **message}
        )
        following = log[log.index(said) + 1 :]
        stream += said is NEXT and following != [NEXT]
    return law


@pytest.mark.parametrize("log", LAWFUL.values(), ids=LAWFUL)
def test_what_is_lawful_passes(log: list[Said]) -> None:
    judged(log).uphold()


@pytest.mark.parametrize(("text", "log"), BREACHES.items(), ids=BREACHES)
def test_a_breach_of_a_client_is_named(text: str, log: list[Said]) -> None:
    (breach,) = judged(log).violations
    assert text in breach


@pytest.mark.parametrize(("text", "log"), OF_SERVERS.items(), ids=OF_SERVERS)
def test_a_breach_of_a_server_is_named(text: str, log: list[Said]) -> None:
    law = judged(log, server=True)
    assert text in law.violations[0]
    assert all("neither" not in each for each in law.violations)


def test_a_request_that_crosses_a_response_answers_an_earlier_one() -> None:
    log = [*BEGUN, tell("2", "n2"), ask("a", "b", version="1", nonce="n1")]
    judged(log, server=True).uphold()
    assert judged(log).violations


def test_a_response_without_an_answer_is_counted_while_its_stream_lives() -> None:
    law = judged(BEGUN[:2])
    assert law.unanswered() == ["plane stream 1 " + CLUSTER + " nonce n1"]
    assert not judged([*BEGUN[:2], NEXT]).unanswered()
