"""The client on real sockets, against a control plane in the same process."""

import os
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshlib.errors import ConfigError
from meshlib.model import Snapshot
from meshlib.xds.bootstrap import Bootstrap, Node, Server
from meshlib.xds.client import XdsClient
from meshlib.xds.encodings import SendRequest
from meshlib.xds.lines import CONNECT_TIMEOUT
from meshlib.xds.protos import message_class
from meshlib.xds.transport import News, Received, Sent
from meshlib.xds.types import LISTENER

REQUEST = "envoy.service.discovery.v3.DiscoveryRequest"
RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"
PATIENCE = 20.0


@pytest.fixture
def client() -> Iterator[Callable[..., XdsClient]]:
    """A client that is not started, whose news nobody needs."""
    made: list[XdsClient] = []

    def make(bootstrap: Bootstrap, **kwargs: Any) -> XdsClient:
        deaf: dict[str, Any] = {"on_update": lambda *_: None, "on_problem": lambda _: None}
        deaf["clock"] = time.monotonic
        made.append(XdsClient(bootstrap, dice=random.random, **(deaf | kwargs)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_member_gets_what_it_watches(control_plane, member, world) -> None:
    server = control_plane()
    server.serve(world.chain("a", "x", "y"), "v1")
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    assert me.snapshot == world.chain("a", "x", "y")
    assert me.snapshot.version == "v1"
    assert me.threads == {"meshlib-ads"}
    assert server.nodes == ["me"]
    status = me.client.status()
    assert (status["connected"], status["error"], status["node"]) == (True, "", "me")
    assert status["types"][LISTENER]["resources"]["a"]["state"] == "ACKED"
    assert me.client.is_ready()


def test_an_unknown_host_is_absent_at_once(control_plane, member, world) -> None:
    me = member(control_plane().port)
    me.client.watch("nobody")
    assert not me.client.is_ready()
    me.until(lambda: me.absent)
    assert me.absent == {"nobody"}
    assert me.client.is_ready()
    assert me.problems == []


def test_a_change_reaches_the_member(control_plane, member, world) -> None:
    server = control_plane()
    server.serve(world.chain("a", "x"), "v1")
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    server.serve(world.chain("a", "new"), "v2")
    me.until(lambda: "new" in me.snapshot.clusters)
    assert me.snapshot == world.chain("a", "new")


def test_a_restart_of_the_control_plane_is_survived(control_plane, member, world) -> None:
    server = control_plane()
    server.serve(world.chain("a", "x"), "v1")
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    server.stop()
    me.until(lambda: me.problems)
    assert me.snapshot == world.chain("a", "x")
    assert not me.client.status()["connected"]
    again = control_plane(server.port)
    again.serve(world.chain("a", "new"), "v2")
    me.until(lambda: "new" in me.snapshot.clusters)
    assert me.client.status()["error"] == ""


def test_a_stream_that_the_server_ends_is_opened_anew(control_plane, member, world) -> None:
    server = control_plane()
    server.serve(world.chain("a", "x"), "v1")
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    server.end_streams()
    me.client.watch("nobody")
    me.until(lambda: me.absent)
    assert (server.streams, me.problems) == (2, [])


def test_a_control_plane_that_is_not_there_is_told_with_the_node(member) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    me = member(port)
    me.client.watch("a")
    me.until(lambda: me.problems)
    assert "UNAVAILABLE" in me.problems[0]
    assert "(node me)" in me.problems[0]
    assert f"127.0.0.1:{port}" in me.client.status()["error"]
    assert (me.snapshot, me.absent) == (Snapshot(), frozenset())


def test_c5_a_stream_that_nobody_takes_is_given_up_and_told(client) -> None:
    """Silence before the connection is an error of the channel; afterwards it is legal."""
    now = [0.0]
    told: queue.Queue[str] = queue.Queue()

    class Silent(Tape):
        def send(self, request: SendRequest) -> None:
            now[0] += CONNECT_TIMEOUT

    me = client(
        Bootstrap.for_server("nowhere", node_id="me"),
        connect=lambda *_, **__: Silent(b""),
        on_problem=told.put,
        clock=lambda: now[0],
    )
    me.watch("a")
    me.start()
    said = told.get(timeout=PATIENCE)
    assert "no answer from the control plane: nowhere: no connection within 5 s" in said


def test_a_stream_that_is_taken_is_heard_of_once_and_before_any_answer(client) -> None:
    told: queue.Queue[str] = queue.Queue()

    class Taken(Tape):
        def send(self, request: SendRequest) -> None:
            self.post(Sent(self, request))
            if not request.first:
                told.put("asked for more")

    def connect(_server: Server, _node: Node, post: Callable[[News], None], **_: Any) -> Tape:
        stream = Taken(b"")
        stream.post = post
        return stream

    me = client(
        Bootstrap.for_server("silent", node_id="me"),
        connect=connect,
        on_connection=lambda: told.put("connected"),
    )
    me.watch("a")
    me.start()
    assert told.get(timeout=PATIENCE) == "connected"
    me.watch("b")
    assert told.get(timeout=PATIENCE) == "asked for more"
    me.close()
    assert told.empty()


def test_a_control_plane_that_answers_garbage_is_told_and_left(
    control_plane, member, world
) -> None:
    server = control_plane()
    server.say = b"\xff\xff<html>"
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.problems)
    assert "sent garbage" in me.problems[0]
    assert "sent garbage" in me.client.status()["error"]
    server.serve(world.chain("a", "x"), "v1")
    me.until(lambda: me.snapshot.listeners)


def test_garbage_does_not_take_away_what_was_good(control_plane, member, world) -> None:
    server = control_plane()
    server.serve(world.chain("a", "x"), "v1")
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    server.say = b"\xff\xff<html>"
    me.client.watch("b")
    me.until(lambda: me.problems)
    assert me.snapshot == world.chain("a", "x")


def test_a_server_that_speaks_no_http2_is_told(member) -> None:
    def refuse(listening: socket.socket) -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=refuse, args=(listening,), daemon=True)
        thread.start()
        me = member(listening.getsockname()[1])
        me.client.watch("a")
        me.until(lambda: me.problems)
        assert "no answer from the control plane" in me.problems[0]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_listener_that_cannot_apply_an_update_does_not_end_the_client(
    control_plane, client, world
) -> None:
    server = control_plane()
    server.serve(world.chain("a", "x"), "v1")
    told: queue.Queue[str] = queue.Queue()

    def refuse(snapshot: Snapshot, absent: frozenset[str]) -> None:
        raise ValueError(snapshot.version)

    bootstrap = Bootstrap.for_server(f"127.0.0.1:{server.port}", node_id="me")
    deaf = client(bootstrap, on_update=refuse, on_problem=told.put)
    deaf.start()
    deaf.watch("a")
    assert "v1 cannot be applied" in told.get(timeout=PATIENCE)
    server.serve(world.chain("a", "y"), "v2")
    assert "v2 cannot be applied" in told.get(timeout=PATIENCE)


def test_credentials_that_cannot_be_read_are_told(client) -> None:
    creds = [{"type": "tls", "config": {"ca_certificate_file": "missing.pem"}}]
    bootstrap = Bootstrap.load(
        {"xds_servers": [{"server_uri": "localhost:1", "channel_creds": creds}]}
    )
    told: queue.Queue[str] = queue.Queue()
    blind = client(bootstrap, on_problem=told.put)
    blind.start()
    blind.watch("a")
    assert "channel_creds.config.ca_certificate_file" in told.get(timeout=PATIENCE)


def test_closing_ends_every_thread_of_the_client(control_plane, member, world) -> None:
    server = control_plane()
    server.serve(world.chain("a", "x"), "v1")
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    ours = [t for t in threading.enumerate() if t.name.startswith("meshlib-ads")]
    assert len(ours) == 2
    me.client.close()
    for thread in ours:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in ours)


def test_a_client_that_was_closed_does_not_start(client) -> None:
    never = client(Bootstrap.for_server("127.0.0.1:1"))
    never.close()
    never.start()
    assert never._thread is None


def test_o6_a_name_of_an_unknown_authority_is_refused(client) -> None:
    server = {"server_uri": "one:1", "channel_creds": [{"type": "insecure"}]}
    asked = client(Bootstrap.load({"xds_servers": [server], "authorities": {"same": {}}}))
    asked.watch("xdstp://same/envoy.config.listener.v3.Listener/a")
    with pytest.raises(ConfigError, match="no authority 'other'"):
        asked.watch("xdstp://other/envoy.config.listener.v3.Listener/a")


class Tape:
    """A stream that answers the first request, and keeps what happens in order."""

    post: Callable[[News], None]

    def __init__(self, response: bytes) -> None:
        self._response = response
        self.events: list[str] = ["read"]
        self.heard: queue.Queue[str] = queue.Queue()

    def send(self, request: SendRequest) -> None:
        self.events.append("send")
        if request.first:
            self.post(Sent(self, request))
            self.post(Received(self, self._response))

    def read(self) -> None:
        self.events.append("read")
        self.heard.put("read")

    def close(self) -> None:
        self.events.append("close")


def test_s11_the_next_response_is_read_when_the_last_was_taken_in(client) -> None:
    response: Any = message_class(RESPONSE)(type_url=LISTENER, version_info="1", nonce="n")
    error = response.resource_errors.add()
    error.resource_name.name = "a"
    error.error_detail.code = 5
    tape = Tape(response.SerializeToString())

    def connect(server: Server, node: Node, post: Callable[[News], None], **_: Any) -> Tape:
        tape.post = post
        return tape

    me = client(
        Bootstrap.for_server("nowhere"),
        connect=connect,
        on_update=lambda *_: tape.events.append("update"),
    )
    me.watch("a")
    me.start()
    assert tape.heard.get(timeout=PATIENCE) == "read"
    assert tape.events == ["read", "send", "send", "update", "read"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_may_close_the_client_of_its_parent(control_plane, member, world) -> None:
    server = control_plane()
    server.serve(world.chain("a", "x"), "v1")
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    child = os.fork()
    if child == 0:
        me.client.close()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    server.serve(world.chain("a", "y"), "v2")
    me.until(lambda: "y" in me.snapshot.clusters)
