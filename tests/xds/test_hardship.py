"""Control planes that misbehave, on real sockets: nothing that works is lost by it."""

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from meshlib.testing.ads_server import PATIENCE
from meshlib.xds.bootstrap import Bootstrap, Node, Server
from meshlib.xds.lines import LONGEST_SILENCE, Lines
from meshlib.xds.transport import KEEPALIVE, Stream
from meshlib.xds.types import LISTENER


@pytest.fixture
def encoding() -> str:
    return "delta"


class Pipe:
    """Stands between client and server; :meth:`stall` keeps connections open and passes nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        self._flows.clear()

    def close(self) -> None:
        self._flows.set()
        for each in (self._listening, *self._sockets):
            with_shutdown(each)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if not self._flows.is_set():
                self._sockets.append(near)  # accepted by the kernel, and no more
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while said := source.recv(65536):
                self._flows.wait()
                sink.sendall(said)
        except OSError:
            pass
        with_shutdown(sink)


def with_shutdown(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@pytest.fixture
def pipe() -> Iterator[Callable[[int], Pipe]]:
    made: list[Pipe] = []

    def lay(port: int) -> Pipe:
        made.append(Pipe(port))
        return made[-1]

    yield lay
    for each in made:
        each.close()


def impatient(server: Server, node: Any, post: Any, *, delta: bool, keepalive: float) -> Stream:
    return Stream(server, node, post, delta=delta, keepalive=min(keepalive, 0.3))


def test_c6_a_half_open_connection_is_found_and_what_worked_serves_on(
    control_plane, member, world, pipe
) -> None:
    # A server of gRPC's wants pings no oftener than every five minutes, unless it is told.
    patient = [("grpc.http2.max_ping_strikes", 0)]
    server = control_plane(snapshot=world.chain("a", "x"), options=patient)
    line = pipe(server.port)
    me = member(line.port, connect=impatient)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    line.stall()
    me.until(lambda: me.problems)
    assert me.snapshot == world.chain("a", "x")
    assert not me.client.status()["connected"]


def test_a_server_that_had_too_many_pings_is_pinged_less() -> None:
    lines = Lines(Node(), queue.SimpleQueue().put)
    server = Server(server_uri="x")
    assert lines.keepalive_of(server) == KEEPALIVE
    lines.ping_less(server)
    assert lines.keepalive_of(server) == 2 * KEEPALIVE
    for _ in range(20):
        lines.ping_less(server)
    assert lines.keepalive_of(server) == LONGEST_SILENCE


def test_a_connection_that_is_too_old_is_replaced_without_a_word(
    control_plane, member, world
) -> None:
    ages = [("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 100)]
    server = control_plane(snapshot=world.chain("a", "x"), options=ages)
    told: queue.Queue[str] = queue.Queue()
    me = member(server.port, wire=lambda what, _: told.put(what))
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    opened = 0
    while opened < 2:
        opened += told.get(timeout=PATIENCE) == "opened"  # a stream, and the one after it
    assert me.problems == []
    assert me.snapshot == world.chain("a", "x")


def test_c3_a_server_that_answers_once_and_dies_takes_nothing_away(
    control_plane, member, world
) -> None:
    server = control_plane(snapshot=world.chain("a", "x"))
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    server.answers = 1
    server.end_streams()
    me.client.watch("nobody")
    me.until(lambda: me.absent)
    assert me.snapshot == world.chain("a", "x")
    assert me.problems == []


def test_a_server_that_speaks_no_delta_is_asked_in_the_other_encoding(
    control_plane, member, world
) -> None:
    server = control_plane(snapshot=world.chain("a", "x"), encodings=["sotw"])
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    [asked] = me.client.status()["servers"]
    assert (asked["encoding"], asked["connected"]) == ("sotw", True)
    assert me.problems == []


def test_d1_a_new_stream_tells_the_versions_that_are_in_use(control_plane, member, world) -> None:
    server = control_plane(snapshot=world.chain("a", "x"))
    me = member(server.port)
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    server.end_streams()
    me.client.watch("nobody")
    me.until(lambda: me.absent)
    assert {"a": "1"} in server.known


def test_c7_the_second_control_plane_serves_while_the_first_is_away(
    control_plane, member, world
) -> None:
    first = control_plane()
    first.stop()
    second = control_plane(snapshot=world.chain("a", "x"))
    uris = [f"127.0.0.1:{each.port}" for each in (first, second)]
    servers = [{"server_uri": uri, "channel_creds": [{"type": "insecure"}]} for uri in uris]
    me = member(Bootstrap.load({"xds_servers": servers}))
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    assert me.client.status()["server"] == uris[1]
    again = control_plane(first.port, snapshot=world.chain("a", "y"))
    me.until(lambda: "y" in me.snapshot.clusters)
    assert me.client.status()["server"] == uris[0]
    assert [each["server"] for each in me.client.status()["servers"]] == [uris[0]]
    assert again.streams == 1


def test_the_listener_of_a_template_is_known_by_its_target(control_plane, member, world) -> None:
    name = "xdstp://there/envoy.config.listener.v3.Listener/a"
    chain = world.chain("a", "x")
    listeners = {name: world.listener(name, "ra")}
    server = control_plane(snapshot=replace(chain, listeners=listeners))
    creds = [{"type": "insecure"}]
    servers = [{"server_uri": f"127.0.0.1:{server.port}", "channel_creds": creds}]
    key = "client_default_listener_resource_name_template"
    template = "xdstp://there/envoy.config.listener.v3.Listener/%s"
    me = member(
        Bootstrap.load({"xds_servers": servers, "authorities": {"there": {}}, key: template})
    )
    me.client.watch("a")
    me.client.watch("nobody")
    me.until(lambda: me.snapshot.listeners and me.absent)
    assert {each.name for each in me.snapshot.listeners.values()} == {"a"}
    assert (set(me.snapshot.listeners), me.absent) == ({"a"}, {"nobody"})
    assert me.client.is_ready()


def test_the_wire_hears_all_that_is_said_in_order(control_plane, member, world) -> None:
    server = control_plane(snapshot=world.chain("a", "x"))
    heard: list[tuple[str, dict[str, Any]]] = []
    me = member(server.port, wire=lambda what, message: heard.append((what, message)))
    me.client.watch("a")
    me.until(lambda: me.snapshot.listeners)
    me.client.close()
    assert [what for what, _ in heard[:4]] == ["opened", "sent", "received", "sent"]
    assert heard[-1][0] == "closed"
    place = {"server": f"127.0.0.1:{server.port}", "stream": 1, "delta": True}
    asked, answered, acked = (message for _, message in heard[1:4])
    assert all(message.items() >= place.items() for _, message in heard)
    assert (asked["type_url"], asked["resource_names_subscribe"]) == (LISTENER, ["a"])
    assert acked["response_nonce"] == answered["nonce"]
    assert "error_detail" not in acked
