"""Twenty edits of many kinds of a folder that is served, under load: each kind of client follows.

How long it took from the edit to the first affected call is told at the end of the run.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

import meshlib

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]
METHOD = "/test.Who/Are"
METADATA = (("x-who", "judge"),)
CLIENTS = ("meshlib sync", "meshlib aio", "sync", "aio", "go", "js", "GRPC", "DELTA_GRPC")
ENOUGH = 20_000
PER_EDIT = 1120
PER_REFUSAL = 40
PATIENCE = 20.0
BEHAVIOUR = {"v1": (), "v2": (), "slow": ("300ms",), "shaky": ("0s", "20")}
"""What the servers that answer with these names are like; the last fails one call of 20."""

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: grpc, port: 9080}]}
"""
RULES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [SUBSETS]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [HTTP]
"""
WORKLOAD = """---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-NAME}
spec: {address: 127.0.0.1, ports: {grpc: PORT}, labels: {app: reviews, version: VERSION}}
"""


def to(subset: str, weight: int = 100) -> str:
    return f"{{destination: {{host: reviews, subset: {subset}}}, weight: {weight}}}"


def rule(subset: str, rest: str = "") -> str:
    return f"{{route: [{to(subset)}]{rest}}}"


def split(v1: int, v2: int) -> str:
    return f"{{route: [{to('v1', v1)}, {to('v2', v2)}]}}"


def only_if(match: str) -> str:
    return f"{rule('v2', f', match: [{match}]')}, {rule('v1')}"


MINE, ANOTHER = "{headers: {x-who: {exact: judge}}}", "{headers: {x-who: {exact: other}}}"
CALLED, UNCALLED = "{uri: {exact: /test.Who/Are}}", "{uri: {prefix: /test.Whose/}}"
ABORT = ", fault: {abort: {httpStatus: 403, percentage: {value: 100}}}"
LATE = "timeout|deadline|cancelled|remotereset|streamremoved"
"""What is said of a call that came to its end, by whoever saw it first."""
RETRIES = ", retries: {attempts: 4, retryOn: unavailable, backoff: 5ms}"


@dataclass(frozen=True)
class Edit:
    """``answer`` is what calls get from then on: a server's name, or a pattern of what is said of
    a failure. Of a new subset nothing is heard before calls are led to it by another edit.

    ``renamed`` are subsets by another name; ``labelled``: which version a server is said to be.
    """

    kind: str
    http: str
    answer: str
    renamed: tuple[tuple[str, str], ...] = ()
    labelled: tuple[tuple[str, str], ...] = ()

    @property
    def is_refusal(self) -> bool:
        return self.answer not in BEHAVIOUR

    def explains(self, answer: str) -> bool:
        if not self.is_refusal:
            return answer == self.answer
        said = answer.lower().replace("_", "").replace(" ", "")
        return said.startswith("failed") and re.search(self.answer, said) is not None

    def write(self, folder: Any, ports: dict[tuple[str, str], int]) -> None:
        """Only what changed: one file an edit."""
        subsets = dict(zip(BEHAVIOUR, BEHAVIOUR, strict=True)) | dict(self.renamed)
        said = ", ".join(
            f"{{name: {name}, labels: {{version: {version}}}}}" for name, version in subsets.items()
        )
        rules = RULES.replace("SUBSETS", said).replace("HTTP", self.http)
        labels = dict(self.labelled)
        workloads = "".join(
            WORKLOAD.replace("NAME", name)
            .replace("PORT", str(port))
            .replace("VERSION", labels.get(name, name))
            for (_, name), port in ports.items()
        )
        for file, text in (("routes.yaml", rules), ("workloads.yaml", workloads)):
            if (folder.path / file).read_text() != text:
                folder.write(file, text)


CANARY = (("canary", "v2"),)
SWAPPED = (("v1", "v2"), ("v2", "v1"))
FIRST = Edit("weights", split(100, 0), "v1")
EDITS = (
    Edit("weights", split(0, 100), "v2"),
    Edit("endpoints", split(0, 100), "v1", labelled=SWAPPED),
    Edit("endpoints", split(0, 100), "v2"),
    Edit("weights", split(100, 0), "v1"),
    Edit("header", only_if(MINE), "v2"),
    Edit("header", only_if(ANOTHER), "v1"),
    Edit("path", only_if(CALLED), "v2"),
    Edit("path", only_if(UNCALLED), "v1"),
    Edit("new subset", only_if(UNCALLED), "v1", renamed=CANARY),
    Edit("subset", rule("canary"), "v2", renamed=CANARY),
    Edit("subset", rule("v1"), "v1"),
    Edit("fault", rule("v1", ABORT), "permissiondenied"),
    Edit("fault", rule("v1"), "v1"),
    Edit("timeout", rule("slow", ", timeout: 50ms"), LATE),
    Edit("timeout", rule("v1"), "v1"),
    Edit("retries", rule("shaky", RETRIES), "shaky"),
    Edit("retries", rule("v2"), "v2"),
    Edit("endpoints", rule("v2"), "v1", labelled=SWAPPED),
    Edit("endpoints", rule("v2"), "v2"),
    Edit("header", only_if(ANOTHER), "v1"),
)


@pytest.fixture
async def upstreams(go_judges: Path, start: Any) -> dict[tuple[str, str], int]:
    ports = {}
    for name, behaviour in BEHAVIOUR.items():
        server = await start(go_judges / "server", "plain", "127.0.0.1:0", name, *behaviour)
        ports["reviews", name] = int((await server.hear())["address"].rpartition(":")[2])
    return ports


class Ours:
    """meshlib's own client, asked as the stock ones are."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def ask(self, calls: int) -> Counter[str]:
        return Counter([await self._answer() for _ in range(calls)])

    async def _answer(self) -> str:
        try:
            answer: bytes = await self._call(b"", timeout=20, metadata=METADATA)
        except grpc.RpcError as error:
            return f"failed: {error.code()} {error.details()}"
        return answer.decode()


class OursInThreads(Ours):
    async def ask(self, calls: int) -> Counter[str]:
        def answer() -> str:
            try:
                made: bytes = self._call(b"", timeout=20, metadata=METADATA)
            except grpc.RpcError as error:
                return f"failed: {error.code()} {error.details()}"
            return made.decode()

        return await asyncio.to_thread(lambda: Counter(answer() for _ in range(calls)))


@pytest.fixture(params=CLIENTS)
async def client(
    request: pytest.FixtureRequest, folder: Any, upstreams: Any, plane: Any, connect: Any
) -> AsyncIterator[Any]:
    folder.write("services.yaml", SERVICE)
    FIRST.write(folder, upstreams)
    if "meshlib" in request.param:
        async with meshlib.Mesh("judged", control_plane=plane.address) as mesh:
            if request.param == "meshlib sync":
                with mesh.grpc.channel("reviews:9080") as channel:
                    yield OursInThreads(channel.unary_unary(METHOD))
            else:
                async with mesh.grpc.aio_channel("reviews:9080") as channel:
                    yield Ours(channel.unary_unary(METHOD))
    elif "GRPC" in request.param:
        envoy = await request.getfixturevalue("start_envoy")(plane.address, request.param)
        yield await request.getfixturevalue("call_at")(f"{envoy.address}:9080")
    else:
        yield await connect(request.param, plane.address)


async def affected(client: Any, calls: int, before: Edit, edit: Edit) -> float:
    """Make some calls; the share that is as the edit says, where all others are as before."""
    answers: dict[str, int] = await client.ask(calls)
    reached = {answer for answer in answers if edit.explains(answer)}
    strange = [one for one in answers if one not in reached and not before.explains(one)]
    assert not strange, (edit, answers)
    return sum(answers[answer] for answer in reached) / sum(answers.values())


async def follow(client: Any, before: Edit, edit: Edit) -> float:
    """Call until all are affected; after how long the first was."""
    edited = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        while not await affected(client, 4, before, edit):
            pass
        first = time.monotonic() - edited
        while await affected(client, 20, before, edit) < 1:
            pass
    return first


async def test_twenty_edits_are_followed_without_a_failed_call(
    client: Any, folder: Any, upstreams: Any, plane: Any, until: Any, tell_edits: Any
) -> None:
    async def is_applied(last: str) -> bool:
        return bool((await plane.status())["version"] != last)

    await follow(client, replace(FIRST, answer="v2"), FIRST)
    before, answered = FIRST, 0
    delays = []
    for edit in EDITS:
        last = (await plane.status())["version"]
        edit.write(folder, upstreams)
        if edit.answer == before.answer:
            await until(lambda last=last: is_applied(last))
        delay = await follow(client, before, edit)
        if edit.answer != before.answer:
            delays.append((edit.kind, delay))
        calls = PER_REFUSAL if edit.is_refusal else PER_EDIT
        assert await affected(client, calls, edit, edit) == 1
        answered += 0 if edit.is_refusal else calls
        before = edit
    assert answered >= ENOUGH
    tell_edits(answered, delays)
