"""Configuration that changes all the time, observers that fail: calls go on."""

import asyncio
import logging
import threading

import meshlib
from meshlib.controlplane.manifests import load_documents
from meshlib.dataplane import CallEnded

UNARY = "/test.T/Unary"


def test_many_threads_call_while_the_configuration_changes(manifests):
    mesh = meshlib.Mesh(config=manifests)
    channel = mesh.grpc.channel("greeter:9080")
    unary = channel.unary_unary(UNARY)
    over = threading.Event()
    failed: list[BaseException] = []

    def load() -> None:
        while not over.is_set():
            try:
                unary(b"x", timeout=20)
            except BaseException as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=load) for _ in range(16)]
    with mesh:
        for thread in threads:
            thread.start()
        here = manifests[1]
        for number in range(200):
            nowhere = {**here, "metadata": {"name": f"greeter-{number}"}}
            mesh._source._apply(load_documents([*manifests, nowhere][: 4 + number % 2]))
            unary(b"x", timeout=20)
        over.set()
        for thread in threads:
            thread.join()
        clusters = mesh._engine.clusters.values()
        assert (failed, sum(c.breaker.concurrency.active for c in clusters)) == ([], 0)
        assert len(channel._pool.members) == 1


def test_an_observer_that_fails_at_the_end_of_a_stream_does_not_stop_its_channel(manifests, caplog):
    def fails(event: object) -> None:
        if isinstance(event, CallEnded):
            raise KeyError("a bug")

    with meshlib.Mesh(config=manifests) as mesh, caplog.at_level(logging.ERROR, "meshlib"):
        channel = mesh.grpc.channel("greeter:9080")
        stream = channel.unary_stream(UNARY)
        mesh._engine.around.observe, recorder = fails, mesh._engine.around.observe
        assert list(stream(b"x", timeout=10)) == [b"ok:x"]
        mesh._runtime.collect()
        mesh._engine.around.observe = recorder
        assert list(stream(b"y", timeout=10)) == [b"ok:y"]
        future = channel.unary_unary(UNARY).future(b"z", timeout=10)
        assert future.result(timeout=20) == b"ok:z"
        assert "a call ended badly" in caplog.text


def test_one_channel_serves_loops_of_many_threads(manifests):
    with meshlib.Mesh(config=manifests) as mesh:
        channel = mesh.grpc.aio_channel("greeter:9080")
        answers: list[bytes] = []

        async def call() -> None:
            unary = channel.unary_unary(UNARY)
            answers.extend([await unary(b"x", timeout=20) for _ in range(10)])

        def loops() -> None:
            for _ in range(2):
                asyncio.run(call())

        threads = [threading.Thread(target=loops) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [b"ok:x"] * 80
