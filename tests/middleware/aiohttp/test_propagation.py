"""What a served call brought along goes out with every call made for it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import aiohttp
import pytest
from aiohttp import web

from meshlib.model import Exact, HeaderMatcher, Metadata, Route, RouteAction, RouteMatch, Struct
from meshlib.telemetry import threads

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EXTERNAL = Metadata((("istio", Struct((("external", True),))),))
"""As Istio marks clusters of hosts outside of the mesh."""
SENT = {"traceparent": PARENT, "x-request-id": "r-1", "baggage": "a=1", "End-User": "jason"}


@pytest.fixture
def carried_into_threads():
    threads.install()
    yield
    threads.uninstall()


@pytest.fixture
async def outside():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def chain(mesh, servers, url):
    """A member that calls reviews by ``fetch``; gives its URL and what reviews was asked."""

    async def start(fetch):
        seen: list[web.Request] = []
        mesh.apply(await servers.named("reviews", seen))

        async def handler(request):
            await fetch(f"{url}{request.path}")
            return web.Response()

        return f"http://{await servers.start(handler, setup=mesh.hooks.setup)}", seen

    return start


async def test_a_call_made_while_serving_carries_the_headers(chain, session, outside):
    async def fetch(target):
        (await session.get(target)).release()

    member, seen = await chain(fetch)
    (await outside.get(member, headers=SENT)).release()
    assert {name: seen[0].headers.get(name) for name in SENT} == SENT


async def test_what_the_caller_sets_himself_wins(chain, session, outside):
    async def fetch(target):
        (await session.get(target, headers={"X-Request-Id": "mine"})).release()

    member, seen = await chain(fetch)
    (await outside.get(member, headers=SENT)).release()
    assert seen[0].headers.getall("x-request-id") == ["mine"]
    assert seen[0].headers["traceparent"] == PARENT


async def test_a_call_without_request_id_gets_one_for_all_that_follows(chain, session, outside):
    async def fetch(target):
        for _ in range(2):
            (await session.get(target)).release()

    member, seen = await chain(fetch)
    (await outside.get(member)).release()
    (await outside.get(member)).release()
    ids = [request.headers["x-request-id"] for request in seen]
    assert ids[0] == ids[1] != ids[2] == ids[3]


async def test_what_is_private_to_the_mesh_does_not_go_to_hosts_outside_of_it(
    mesh, servers, session, outside, url
):
    seen = []
    inside = await servers.named("reviews", seen)

    async def handler(request):
        (await session.get(url)).release()
        return web.Response()

    member = f"http://{await servers.start(handler, setup=mesh.hooks.setup)}"
    for metadata in (EXTERNAL, Metadata()):
        mesh.apply(inside, metadata=metadata)
        (await outside.get(member, headers=SENT)).release()
    abroad, at_home = ({name: one.headers.get(name) for name in SENT} for one in seen)
    assert at_home == SENT
    assert abroad == SENT | {"baggage": None, "End-User": None}


async def test_a_route_may_match_what_was_carried(mesh, servers, session, outside, url):
    seen = []
    action = RouteAction(cluster="reviews", timeout=0.0)
    jason = RouteMatch(headers=(HeaderMatcher(name="end-user", match=Exact("jason")),))
    mesh.apply(
        await servers.named("a", seen),
        routes=(Route(name="jason", match=jason, action=action), Route(name="all", action=action)),
    )

    async def handler(request):
        (await session.get(url)).release()
        return web.Response()

    member = f"http://{await servers.start(handler, setup=mesh.hooks.setup)}"
    for headers in (SENT, {}):
        (await outside.get(member, headers=headers)).release()
    calls = [end.record for end in mesh.ended if not end.record.inbound]
    assert [call.route.config.name for call in calls] == ["jason", "all"]


async def test_tasks_and_threads_carry_the_headers_without_the_applications_help(
    chain, outside, mesh, carried_into_threads
):
    """Task, pool, thread: each in the other, the call itself in a loop of its own."""

    async def call(target):
        async with mesh.hooks.session() as session:
            (await session.get(target)).release()

    def in_a_thread(target):
        thread = Thread(target=asyncio.run, args=(call(target),))
        thread.start()
        thread.join()

    with ThreadPoolExecutor(1) as pool:

        async def in_a_pool(target):
            await asyncio.get_running_loop().run_in_executor(pool, in_a_thread, target)

        async def fetch(target):
            await asyncio.create_task(in_a_pool(target))

        member, seen = await chain(fetch)
        for number in range(3):
            headers = {**SENT, "End-User": f"user {number}"}
            (await outside.get(member, headers=headers)).release()
    assert [request.headers["End-User"] for request in seen] == ["user 0", "user 1", "user 2"]


async def test_calls_served_at_once_do_not_mix(chain, session, outside, carried_into_threads):
    async def fetch(target):
        await asyncio.sleep(0)
        user = target.rpartition("/")[2]
        await asyncio.get_running_loop().run_in_executor(None, user.upper)
        (await session.get(target)).release()

    member, seen = await chain(fetch)

    async def ask(user):
        (await outside.get(f"{member}/{user}", headers={"End-User": user})).release()

    await asyncio.gather(*(ask(f"u{number}") for number in range(30)))
    assert len(seen) == 30
    assert all(request.headers["End-User"] == request.path[1:] for request in seen)


async def test_a_call_made_outside_of_serving_carries_nothing(mesh, servers, session, url):
    seen = []
    mesh.apply(await servers.named("a", seen))
    (await session.get(url)).release()
    assert "x-request-id" not in seen[0].headers
    assert "traceparent" not in seen[0].headers


async def test_only_the_marks_of_a_trace_leave_the_mesh(chain, servers, session, outside):
    foreign_seen = []
    foreign = await servers.named("foreign", foreign_seen)

    async def fetch(_target):
        (await session.get(f"http://{foreign}/")).release()

    member, _ = await chain(fetch)
    (await outside.get(member, headers=SENT)).release()
    assert foreign_seen[0].headers["traceparent"] == PARENT
    assert foreign_seen[0].headers["x-request-id"] == "r-1"
    assert "baggage" not in foreign_seen[0].headers
    assert "end-user" not in foreign_seen[0].headers


async def test_a_host_that_turns_out_foreign_gets_no_more(new_mesh, servers, outside):
    """Before the first configuration nobody knows; what is private still stays inside."""
    mesh = new_mesh(complete=False)
    seen = []
    foreign = await servers.named("foreign", seen)
    mesh.runtime.want = lambda name: mesh.runtime.commit(
        mesh.engine.prepare(mesh.engine.snapshot, absent=[name])
    )

    async def handler(request):
        async with mesh.hooks.session() as session:
            (await session.get(f"http://{foreign}/")).release()
        return web.Response()

    member = f"http://{await servers.start(handler, setup=mesh.hooks.setup)}"
    async with outside.get(member, headers=SENT) as answer:
        assert answer.status == 200
    assert seen[0].headers["traceparent"] == PARENT
    assert "end-user" not in seen[0].headers
