"""What a decision costs by itself, over the size of what it is made from: no network.

Sizes take turns in short shuffled blocks; ratios against the smallest are made inside a round.
Each block calls a thousand other paths, more than any memo keeps, so that the index is measured.
"""

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable

from meshlib import model
from meshlib.dataplane import Engine, Observer, Options, Request, Response
from meshlib.dataplane.message import Meter
from meshlib.telemetry import Recorder

SIZES = (10, 100, 1_000, 10_000)
TARGET = "echo:9080"
OK = Response(200, (), 0)


def engine(
    *, routes: int, endpoints: int, policy: model.LbPolicy, observe: Observer = lambda _: None
) -> Engine:
    """Half of the routes are exact, half are prefixes; the last takes whatever is left."""
    made = [route(number, exact=number % 2 == 0) for number in range(routes - 1)]
    host = model.VirtualHost(name="echo", domains=("*",), routes=(*made, route(None, exact=False)))
    table = model.RouteConfiguration(name="table", virtual_hosts=(host,))
    places = tuple(
        model.Endpoint(address=model.Address(f"10.0.{n // 250}.{n % 250}", 80))
        for n in range(endpoints)
    )
    one = Engine(
        clock=time.monotonic,
        dice=random.Random(7).random,
        observe=observe,
        options=Options(complete=True),
    )
    one.apply(
        model.gather(
            listeners=[model.Listener(name=TARGET, http=model.HttpConnectionManager(routes=table))],
            clusters=[model.Cluster(name="echo", lb_policy=policy)],
            endpoints=[
                model.ClusterLoadAssignment(
                    cluster_name="echo",
                    endpoints=(model.LocalityLbEndpoints(lb_endpoints=places),),
                )
            ],
        )
    )
    return one


def route(number: int | None, *, exact: bool) -> model.Route:
    path: model.PathMatcher = model.PathPrefix("/")
    if number is not None:
        path = model.PathExact(f"/api/{number}") if exact else model.PathPrefix(f"/api/{number}/")
    return model.Route(
        match=model.RouteMatch(path=path),
        action=model.RouteAction(
            cluster="echo", hash_policy=(model.HashHeader(header_name="user"),)
        ),
    )


def paths(routes: int) -> list[str]:
    """Some for every route, thousands in all."""
    luck = random.Random(11)
    return [f"/api/{luck.randrange(routes)}/item/{n}" for n in range(4096)]


def caller(one: Engine, wanted: list[str], position: list[int]) -> Callable[[int], None]:
    def calls(count: int) -> None:
        begin = position[0]
        for offset in range(count):
            path = wanted[(begin + offset) % len(wanted)]
            request = Request(
                TARGET, "GET", path, TARGET, headers=(("user", path),), meter=Meter(10, 100)
            )
            steps = one.outbound(request)
            steps.send(None)
            steps.send(OK)
            next(steps, None)  # the body ended, and with it the call
        position[0] = begin + count

    return calls


def measure(variants: dict[str, Callable[[int], None]], rounds: int) -> dict[str, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    first = next(iter(variants))
    for calls in variants.values():
        calls(2000)
    for _ in range(rounds):
        took = {}
        for name in random.sample(list(variants), len(variants)):
            began = time.perf_counter()
            variants[name](1000)
            took[name] = (time.perf_counter() - began) / 1000
        for name, seconds in took.items():
            times[name].append(seconds)
            ratios[name].append(seconds / took[first])
    return {
        name: {
            "us": round(1e6 * statistics.median(times[name]), 2),
            "ratio": round(statistics.median(ratios[name]), 3),
        }
        for name in variants
    }


def main() -> None:
    plan = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {plan["processor"]})
    rounds = plan["rounds"]
    found = {}
    found["routes"] = measure(
        {
            f"{size:,}": caller(
                engine(routes=size, endpoints=10, policy=model.RoundRobin()), paths(size), [0]
            )
            for size in SIZES
        },
        rounds,
    )
    policies: dict[str, model.LbPolicy] = {
        "round robin": model.RoundRobin(),
        "least request": model.LeastRequest(),
        "ring hash": model.RingHash(),
        "maglev": model.Maglev(),
    }
    for name, policy in policies.items():
        found[f"endpoints, {name}"] = measure(
            {
                f"{size:,}": caller(
                    engine(routes=10, endpoints=size, policy=policy), paths(10), [0]
                )
                for size in SIZES
            },
            rounds,
        )
    observers: dict[str, Observer] = {"nobody": lambda _: None, "the recorder": Recorder()}
    found["counted by"] = measure(
        {
            name: caller(
                engine(routes=10, endpoints=10, policy=model.RoundRobin(), observe=observe),
                paths(10),
                [0],
            )
            for name, observe in observers.items()
        },
        rounds,
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
