"""A real Prometheus scrapes Bookinfo, and is asked what Kiali asks it.

The visitor is the test: HTTP by aiohttp to productpage, gRPC (threads) to ratings. Productpage
calls details by aiohttp and reviews by gRPC (asyncio), these call ratings, which serves in threads.
Productpage and reviews take calls by mutual TLS alone, details and ratings in plain text.
"""

import asyncio
import importlib.util
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import grpc
import pytest

from meshlib import Mesh
from meshlib.testing.prometheus import Prometheus, Samples, scraping

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("prometheus"),
]

PAGES, RATINGS, DENIED, LOST, FAULTS = 120, 40, 6, 9, 5
AT_ONCE = 6
SA = "spiffe://cluster.local/ns/default/sa/"
WINDOW = "120s"
POLICIES = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: productpage}
spec: {selector: {matchLabels: {app: productpage}}, mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: reviews}
spec: {selector: {matchLabels: {app: reviews}}, mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ratings}
spec:
  selector: {matchLabels: {app: ratings}}
  action: DENY
  rules: [{when: [{key: "request.headers[x-blocked]", values: ["yes"]}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details}
spec:
  hosts: [details]
  http:
    - match: [{headers: {end-user: {exact: broken}}}]
      fault: {abort: {percentage: {value: 100}, httpStatus: 503}}
      route: [{destination: {host: details}}]
    - route: [{destination: {host: details}}]
"""

# What Kiali groups by: the graph, the lock on its edges, the response times.
BY = (
    "source_cluster,source_workload_namespace,source_workload,source_canonical_service,"
    "source_canonical_revision,destination_cluster,destination_service_namespace,"
    "destination_service,destination_service_name,destination_workload_namespace,"
    "destination_workload,destination_canonical_service,destination_canonical_revision,"
    "request_protocol,response_code,grpc_response_status,response_flags"
)
SECURED_BY = (
    "source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,"
    "source_principal,destination_service_namespace,destination_service_name,"
    "destination_workload_namespace,destination_workload,destination_canonical_service,"
    "destination_canonical_revision,destination_principal,connection_security_policy"
)
SPENT_BY = (
    "le,source_workload_namespace,source_workload,source_app,source_version,"
    "destination_service_namespace,destination_service_name,destination_workload_namespace,"
    "destination_workload,destination_app,destination_version"
)
ASKED = {
    "from inside": f'sum(rate(istio_requests_total{{reporter="source",'
    f'source_workload_namespace="default"}}[{WINDOW}])) by ({BY}) > 0',
    "from nowhere": f'sum(rate(istio_requests_total{{reporter="destination",'
    f'source_workload="unknown",destination_workload_namespace="default"}}[{WINDOW}])) by ({BY})',
    "secured": f'sum(rate(istio_requests_total{{reporter="destination",'
    f'source_workload_namespace="default"}}[{WINDOW}])) by ({SECURED_BY}) > 0',
    "spent": f"histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{{"
    f'reporter="source",source_workload_namespace="default",response_code=~"2[0-9]{{2}}$",'
    f'grpc_response_status=~"0|"}}[{WINDOW}])) by ({SPENT_BY})) > 0',
    "all": f"sum(istio_requests_total) by (reporter,source_principal,destination_principal,"
    f"connection_security_policy,source_app,source_version,destination_app,destination_version,"
    f"{BY})",
    "bytes": "sum(istio_request_bytes_sum) by (reporter,source_workload,destination_workload)",
    "answered bytes": "sum(istio_response_bytes_sum)"
    " by (reporter,source_workload,destination_workload)",
    "messages": "sum(istio_request_messages_total)"
    " by (reporter,source_workload,destination_workload)",
}


@dataclass
class Run:
    """What was done, as the callers saw it, and what Prometheus says of it."""

    pages: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    ratings: int = 0
    denied: int = 0
    lost: int = 0
    faults: int = 0
    samples: dict[str, Samples] = field(default_factory=dict)

    @property
    def reached(self) -> int:
        """Calls that came somewhere, by all of them."""
        rated = self.pages["v2"] + self.pages["v3"]
        return 3 * self.pages.total() + rated + self.ratings + self.denied + self.lost

    def total(self, name: str, **labels: str) -> float:
        return sum(value for _, value in self.those(name, **labels))

    def those(self, name: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        for one in self.samples[name]:
            if labels.items() <= one["metric"].items():
                yield one["metric"], float(one["value"][1])


@contextmanager
def environment(told: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(told)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def bookinfo(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fleet", root / "examples/bookinfo/fleet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fleet"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run for all questions."""
    return asyncio.run(played(root, tmp_path_factory.mktemp("run")))


async def played(root: Path, tmp: Path) -> Run:
    module, done = bookinfo(root), Run()
    admins = [f"127.0.0.1:{port}" for port in module.free_ports(len(module.WORKLOADS) + 1)]

    class Watched(module.Fleet):  # type: ignore[name-defined, misc]
        """Each workload with an admin port."""

        def _spawn(self, name: str, arguments: list[str], extra: dict[str, str]) -> Any:
            admin = {} if name == "control-plane" else {"MESHLIB_ADMIN": left.pop()}
            path = {"PYTHONPATH": str(root / "src")}
            return super()._spawn(name, arguments, {**extra, **admin, **path})

    left, own = admins[1:], admins[0]
    fleet = Watched(tmp / "mesh", tmp / "logs")
    (tmp / "policies.yaml").write_text(POLICIES)
    try:
        fleet.prepare()
        fleet.scene("thirds")
        fleet.secure(tmp / "policies.yaml")
        await asyncio.to_thread(fleet.start_control_plane)
        await asyncio.to_thread(fleet.start_workloads)
        async with visitor(fleet, own) as mesh, scraping(admins, tmp) as prometheus:
            await measured(mesh, prometheus, done)
    finally:
        await asyncio.to_thread(fleet.stop)
    return done


@asynccontextmanager
async def visitor(fleet: Any, admin: str) -> AsyncIterator[Mesh]:
    with environment({**fleet.membership("visitor"), "MESHLIB_ADMIN": admin}):
        mesh = Mesh("visitor")
    async with mesh:
        yield mesh


async def measured(mesh: Mesh, prometheus: Prometheus, done: Run) -> None:
    """A rate begins with the second sample, so every kind of call is seen once before."""
    async with mesh.aiohttp.session() as session:
        while len(done.pages) < 3:
            await pages(session, done, 1)
        await others(mesh, session, done, ratings=1, denied=1, lost=1, faults=1)
        await all_is_seen(prometheus, done)
        done.seconds.clear()
        await asyncio.gather(*(pages(session, done, PAGES // AT_ONCE) for _ in range(AT_ONCE)))
        await others(mesh, session, done, ratings=RATINGS, denied=DENIED, lost=LOST, faults=FAULTS)
        await all_is_seen(prometheus, done)
    for name, expression in ASKED.items():
        done.samples[name] = await prometheus.ask(expression)


async def all_is_seen(prometheus: Prometheus, done: Run) -> None:
    async def is_seen() -> bool:
        sums = {side: await prometheus.total(f'istio_requests_total{{reporter="{side}"}}')
                for side in ("source", "destination")}  # fmt: skip
        return sums == {"source": done.reached + done.faults, "destination": done.reached}

    try:
        await prometheus.until(is_seen)
    except TimeoutError:
        found = await prometheus.ask(ASKED["all"])
        pytest.fail(f"{done} {done.reached}\n" + "\n".join(sorted(map(str, found))))


async def pages(session: aiohttp.ClientSession, done: Run, count: int) -> None:
    for _ in range(count):
        began = time.monotonic()
        async with session.get("http://productpage:9080/productpage") as answer:
            answer.raise_for_status()
            page = await answer.json()
        done.seconds.append(time.monotonic() - began)
        done.pages[page["reviews"]] += 1


async def others(
    mesh: Mesh,
    session: aiohttp.ClientSession,
    done: Run,
    *,
    ratings: int,
    denied: int,
    lost: int,
    faults: int,
) -> None:
    await asyncio.to_thread(rated, mesh, done, ratings, denied)
    for _ in range(lost):
        async with session.get("http://productpage:9080/nothing") as answer:
            assert answer.status == 404
            done.lost += 1
    for _ in range(faults):
        async with session.get(
            "http://details:9080/details/0", headers={"end-user": "broken"}
        ) as answer:
            assert answer.status == 503
            done.faults += 1


def rated(mesh: Mesh, done: Run, ratings: int, denied: int) -> None:
    with mesh.grpc.channel("ratings:9080") as channel:
        get = channel.unary_unary(
            "/bookinfo.Ratings/Get", lambda message: json.dumps(message).encode(), json.loads
        )
        for _ in range(ratings):
            assert get({"book": 0}, timeout=10)["stars"] == 5
            done.ratings += 1
        for _ in range(denied):
            with pytest.raises(grpc.RpcError) as refused:
                get({"book": 0}, timeout=10, metadata=(("x-blocked", "yes"),))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            done.denied += 1


# --- the graph ---


def edges(run: Run) -> Counter[tuple[str, str, str]]:
    """What there must be: source, destination, protocol."""
    made = Counter({("visitor", "productpage-v1", "http"): run.pages.total() + run.lost})
    made["productpage-v1", "details-v1", "http"] = run.pages.total()
    for version, count in run.pages.items():
        made["productpage-v1", f"reviews-{version}", "grpc"] = count
        if version != "v1":
            made[f"reviews-{version}", "ratings-v1", "grpc"] = count
    made["visitor", "ratings-v1", "grpc"] = run.ratings + run.denied
    return made


def counted(run: Run, reporter: str) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for labels, value in run.those("all", reporter=reporter):
        if "FI" not in labels["response_flags"]:
            ends = labels["source_workload"], labels["destination_workload"]
            found[*ends, labels["request_protocol"]] += int(value)
    return found


@pytest.mark.parametrize("reporter", ["source", "destination"])
def test_both_sides_count_every_call_on_every_edge(run: Run, reporter: str) -> None:
    assert counted(run, reporter) == edges(run)


def test_the_graph_that_kiali_asks_for_has_these_edges(run: Run) -> None:
    found = {
        (one["source_workload"], one["destination_workload"], one["request_protocol"])
        for one, _ in run.those("from inside")
        if one["response_flags"] == "-"
    }
    assert found == set(edges(run))


def test_nobody_in_the_mesh_is_unknown(run: Run) -> None:
    assert run.samples["from nowhere"] == []
    for labels, _ in run.those("all"):
        if "FI" not in labels["response_flags"]:
            assert "unknown" not in [labels.get(name) for name in BY.split(",")]


def test_both_sides_name_each_other_alike(run: Run) -> None:
    names = set(SPENT_BY.split(",")) | set(BY.split(",")) - {"response_flags"} - {"le"}

    def named(reporter: str) -> set[tuple[str, ...]]:
        return {
            tuple(labels.get(name, "") for name in sorted(names))
            for labels, _ in run.those("all", reporter=reporter)
            if "FI" not in labels["response_flags"]
        }

    assert named("source") == named("destination")


def test_the_versions_of_reviews_have_their_shares(run: Run) -> None:
    for reporter in ("source", "destination"):
        shares: Counter[str] = Counter()
        for labels, value in run.those(
            "all", reporter=reporter, destination_canonical_service="reviews"
        ):
            shares[labels["destination_canonical_revision"]] += int(value)
        assert shares == run.pages


# --- success ---


def test_success_rates_are_those_that_callers_saw(run: Run) -> None:
    for reporter in ("source", "destination"):
        pages = {"reporter": reporter, "destination_workload": "productpage-v1"}
        assert run.total("all", **pages, response_code="404") == run.lost
        assert run.total("all", **pages, response_code="200") == run.pages.total()
        ratings = {
            "reporter": reporter,
            "source_workload": "visitor",
            "destination_workload": "ratings-v1",
        }
        assert run.total("all", **ratings, grpc_response_status="7") == run.denied
        assert run.total("all", **ratings, grpc_response_status="0") == run.ratings


def test_what_a_fault_ends_only_the_source_has_seen(run: Run) -> None:
    faults = {"destination_service_name": "details", "response_flags": "FI"}
    assert run.total("all", **faults, reporter="source", response_code="503") == run.faults
    assert run.total("all", **faults, reporter="destination") == 0


# --- time ---


def test_the_95th_percentile_is_the_one_that_callers_felt(run: Run) -> None:
    ((_, milliseconds),) = run.those(
        "spent", source_workload="visitor", destination_workload="productpage-v1"
    )
    felt = sorted(run.seconds)[math.ceil(0.95 * len(run.seconds)) - 1] * 1000
    bounds = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)
    place = [sum(bound < value for bound in bounds) for value in (milliseconds, felt)]
    assert abs(place[0] - place[1]) <= 1, (milliseconds, felt)


# --- who it was ---


def test_calls_are_secured_where_policies_want_it(run: Run) -> None:
    policies: dict[str, set[str]] = {}
    for labels, _ in run.those("secured"):
        ends = policies.setdefault(labels["destination_canonical_service"], set())
        ends.add(labels["connection_security_policy"])
    assert policies == {
        "productpage": {"mutual_tls"},
        "reviews": {"mutual_tls"},
        "details": {"none"},
        "ratings": {"none"},
    }


def test_the_share_of_mutual_tls_is_right(run: Run) -> None:
    secured = run.total("all", reporter="destination", connection_security_policy="mutual_tls")
    assert secured == 2 * run.pages.total() + run.lost
    assert run.total("all", reporter="destination") == run.reached
    assert run.total("all", reporter="source", connection_security_policy="unknown") == (
        run.reached + run.faults
    )


@pytest.mark.parametrize("reporter", ["source", "destination"])
def test_principals_are_those_that_certificates_prove(run: Run, reporter: str) -> None:
    found = {
        (labels["source_principal"], labels["destination_principal"])
        for labels, _ in run.those("all", reporter=reporter)
        if labels["destination_canonical_service"] in ("productpage", "reviews")
    }
    assert found == {(SA + "visitor", SA + "productpage"), (SA + "productpage", SA + "reviews")}


# --- how much ---


def test_both_sides_count_the_same_octets_and_messages(run: Run) -> None:
    for name in ("bytes", "answered bytes", "messages"):
        sides: dict[str, dict[tuple[str, str], float]] = {}
        for labels, value in run.those(name):
            ends = labels["source_workload"], labels["destination_workload"]
            sides.setdefault(labels["reporter"], {})[ends] = value
        for ends, value in sides["destination"].items():
            assert sides["source"][ends] == pytest.approx(value, rel=0.01), (name, ends)
