"""``web.run_app`` with a site of our own: aiohttp's opens its sockets itself."""

import asyncio
import builtins
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

MakeSite = Callable[..., web.BaseSite]


def run(
    app: Awaitable[web.Application],
    make_site: MakeSite,
    host: str | None,
    port: int,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    **kw: Any,
) -> None:
    """Serve until SIGINT or SIGTERM; takes what ``web.run_app`` takes."""
    loop = asyncio.new_event_loop() if loop is None else loop
    main = loop.create_task(_serve(app, make_site, host, port, **kw))
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    except (web.GracefulExit, KeyboardInterrupt):
        pass
    finally:
        try:
            if not main.done():
                _cancel(loop, main)
        finally:
            _cancel(loop, *asyncio.all_tasks(loop))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


async def _serve(
    app: Awaitable[web.Application],
    make_site: MakeSite,
    host: str | None,
    port: int,
    *,
    handle_signals: bool = True,
    backlog: int = 128,
    reuse_port: bool | None = None,
    print: Callable[..., None] | None = builtins.print,  # noqa: A002 - aiohttp's word
    **runner_options: Any,
) -> None:
    runner = web.AppRunner(await app, handle_signals=handle_signals, **runner_options)
    await runner.setup()
    try:
        site = make_site(runner, host, port, backlog=backlog, reuse_port=reuse_port)
        await site.start()
        if print is not None:
            print(f"======== Running on {site.name} ========\n(Press CTRL+C to quit)")
        await asyncio.Event().wait()  # until a signal ends it
    finally:
        await runner.cleanup()


def _cancel(loop: asyncio.AbstractEventLoop, *tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
