"""HTTP servers of one handler: in plain text, and of no mesh unless they are set up for one."""

from collections.abc import Awaitable, Callable

from aiohttp import web


async def started(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    setup: Callable[[web.Application], object] | None = None,
) -> web.AppRunner:
    """Every method and path; where it serves is ``addresses[0]``. It goes on until its clean-up."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    if setup is not None:
        setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner
