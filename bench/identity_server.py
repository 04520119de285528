"""Servers with certificates: a bare one, and members of the mesh with and without policies.

Says the ports and the caller's credentials in one line, and stops when its input ends. A call of
``Cost`` measures, in the place of its handler, what each part of letting it in takes by itself.
"""

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import grpc

from meshlib.dataplane import Engine, Meter, Options, Response
from meshlib.identity.authority import Authority
from meshlib.identity.credentials import Credentials
from meshlib.identity.sources import StaticSource
from meshlib.identity.spiffe import SpiffeId, TrustDomain
from meshlib.identity.store import MemoryStore
from meshlib.middleware._drive import Runtime
from meshlib.middleware._grpc_meter import Incoming
from meshlib.middleware._grpc_place import places_under
from meshlib.middleware._grpc_serve import arriving
from meshlib.middleware._tls_modes import MUTUAL
from meshlib.middleware.grpc import GrpcHooks
from meshlib.model import (
    Address,
    Exact,
    HeaderMatcher,
    HttpConnectionManager,
    HttpFilter,
    Listener,
    NonForwardingAction,
    Prefix,
    Route,
    RouteConfiguration,
    VirtualHost,
    gather,
)
from meshlib.model.rbac import (
    AndRules,
    Authenticated,
    HeaderRule,
    NotRule,
    OrRules,
    Policy,
    Rbac,
    RbacRules,
    UrlPath,
)
from meshlib.xds.regex import finditer, fullmatch

DOMAIN = "cluster.local"
REVIEWS, PRODUCTPAGE = (f"spiffe://{DOMAIN}/ns/bench/sa/{n}" for n in ("reviews", "productpage"))
POLICIES = 10
OK = Response(200, (), 0)


def policies(number: int) -> RbacRules:
    """Each says who, by which method and on which paths; only the one tried last holds."""
    made = []
    for index in range(number):
        last = index == number - 1
        who = (PRODUCTPAGE if last else f"spiffe://{DOMAIN}/ns/bench/sa/other-{index}",)
        named = OrRules(tuple(Authenticated(Exact(one)) for one in (*who, f"{who[0]}-canary")))
        foreign = NotRule(Authenticated(Prefix("spiffe://elsewhere/")))
        path = UrlPath(Prefix("/bench.Echo/"))
        post = HeaderRule(HeaderMatcher(name=":method", match=Exact("POST")))
        made.append(
            Policy(
                name=f"ns[bench]-policy[{index:03}]-rule[0]",
                permissions=(AndRules((OrRules((path,)), OrRules((post,)))),),
                principals=(AndRules((named, foreign)),),
            )
        )
    return RbacRules(policies=tuple(made))


def member(credentials: Credentials | None, number: int) -> Runtime:
    options = Options(complete=True, wall=time.time, regex=fullmatch, finditer=finditer)
    dice = random.Random(7).random
    engine = Engine(clock=time.monotonic, dice=dice, options=options)
    runtime = Runtime(engine, clock=time.monotonic, sleep=time.sleep)
    runtime.credentials = None if credentials is None else StaticSource(credentials)
    rules = (HttpFilter(name="rbac", config=Rbac(rules=policies(number))),) if number else ()
    host = VirtualHost(name="in", domains=("*",), routes=(Route(action=NonForwardingAction()),))
    table = RouteConfiguration(name="in", virtual_hosts=(host,))
    http = HttpConnectionManager(routes=table, http_filters=rules)
    tls = None if credentials is None else MUTUAL
    where = Address("0.0.0.0", 9080)
    listener = Listener(name="inbound", http=http, address=where, tls=tls)
    runtime.commit(engine.prepare(gather(listeners=[listener])))
    return runtime


class Costs:
    """Variants take turns in short shuffled blocks; what each has more is found inside a round."""

    def __init__(self, credentials: Credentials) -> None:
        self._runtimes = {
            "a call in": member(None, 0),
            "and who calls": member(credentials, 0),
            f"and {POLICIES} policies": member(credentials, POLICIES),
        }

    def measure(self, context: Any, rounds: int) -> dict[str, dict[str, float]]:
        """``anew``: no two calls are of the same method, so that nothing is remembered of them."""
        bases, variants = {}, {}
        for word in ("", ", anew"):
            for name, runtime in self._runtimes.items():
                variants[name + word] = caller(runtime, context, anew=bool(word))
                bases[name + word] = next(iter(self._runtimes)) + word
        times: dict[str, list[float]] = {name: [] for name in variants}
        more: dict[str, list[float]] = {name: [] for name in variants}
        for calls in variants.values():
            calls(2000)
        for _ in range(rounds):
            took = {}
            for name in random.sample(list(variants), len(variants)):
                began = time.perf_counter()
                variants[name](200)
                took[name] = (time.perf_counter() - began) / 200
            for name, seconds in took.items():
                times[name].append(seconds)
                more[name].append(seconds - took[bases[name]])
        return {
            name: {
                "us": round(1e6 * statistics.median(times[name]), 2),
                "more_us": round(1e6 * statistics.median(more[name]), 2),
            }
            for name in variants
        }


def caller(runtime: Runtime, context: Any, *, anew: bool) -> Callable[[int], None]:
    handler, numbers = grpc.unary_unary_rpc_method_handler(say), count()

    def calls(number: int) -> None:
        for _ in range(number):
            path = f"/bench.Echo/Say{next(numbers)}" if anew else "/bench.Echo/Say"
            scale = Incoming(Meter(), runtime.clock, None, None)
            request = arriving(runtime, path, handler, places_under)(b"", context, scale)
            steps = runtime.inbound(request)
            effect = runtime.step(steps, None)
            assert type(effect).__name__ == "Serve", effect
            runtime.conclude(steps, OK)

    return calls


async def say(request: bytes, context: Any) -> bytes:
    return request


def add_handlers(server: grpc.aio.Server, costs: Costs | None) -> None:
    async def cost(request: bytes, context: Any) -> bytes:
        assert costs is not None, "only members of the mesh say what they cost"
        return json.dumps(costs.measure(context, int(request))).encode()

    methods = {
        "Say": grpc.unary_unary_rpc_method_handler(say),
        "Cost": grpc.unary_unary_rpc_method_handler(cost),
    }
    handlers = grpc.method_handlers_generic_handler("bench.Echo", methods)
    server.add_generic_rpc_handlers((handlers,))


async def main(processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    now = time.time()
    authority = Authority.create(MemoryStore(), TrustDomain(DOMAIN), now)
    own, client = (authority.issue(SpiffeId.parse(one), now) for one in (REVIEWS, PRODUCTPAGE))
    credentials = authority.credentials(own)
    roots = b"".join(credentials.bundles[DOMAIN].roots)
    bare = grpc.aio.server()
    add_handlers(bare, None)
    pair = [(own.private_key, own.certificate_chain)]
    secured = grpc.ssl_server_credentials(pair, roots, require_client_auth=True)
    ports = {"bare mTLS": bare.add_secure_port("127.0.0.1:0", secured)}
    servers = [bare]
    for name, number in (("mesh, mTLS", 0), (f"and {POLICIES} policies", POLICIES)):
        hooks = GrpcHooks(member(credentials, number))
        server = grpc.aio.server(interceptors=hooks.aio_server_interceptors())
        add_handlers(server, Costs(credentials))
        ports[name] = hooks.add_port(server, "127.0.0.1:0")
        servers.append(server)
    for server in servers:
        await server.start()
    said = {
        "ports": ports,
        "roots": roots.decode(),
        "key": client.private_key.decode(),
        "chain": client.certificate_chain.decode(),
    }
    print(json.dumps(said), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
