"""Upkeep of a cluster with active health checks: its endpoints, asked again and again."""

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..clock import Dice
from ..dataplane import UpstreamEndpoint
from ..dataplane.upstream.cluster import UpstreamCluster
from ..dataplane.upstream.health import Check, HealthChecker, Result
from ..middleware._drive import Runtime
from ..middleware._probes import Probe, probe_for
from ..model import HealthCheck, StrictDns

if TYPE_CHECKING:
    from ..middleware._tls_upstream import UpstreamSecurity

log = logging.getLogger("meshlib")

CHECKED = {True: "healthy", False: "unhealthy"}


class Checking:
    def __init__(
        self,
        checks: tuple[HealthCheck, ...],
        cluster: UpstreamCluster,
        runtime: Runtime,
        *,
        dice: Dice,
        traffic: Callable[[str], bool],
    ) -> None:
        self._checker = HealthChecker(checks, runtime.clock, dice)
        self._cluster = cluster
        self._runtime = runtime
        self._traffic = traffic
        self._asking: dict[Check, asyncio.Task[None]] = {}

    def follow(self, cluster: UpstreamCluster) -> None:
        self._cluster = cluster
        with self._runtime.lock:
            followed = self._checker.follow(_places(cluster))
            if followed.changed:
                cluster.rebalance()
        for check in followed.ended:
            self._asking.pop(check).cancel()
        for check in followed.begun:
            self._asking[check] = asyncio.get_running_loop().create_task(self._ask(check))

    async def close(self) -> None:
        """Endpoints that nobody asks any more are as good as they ever were."""
        asking, self._asking = list(self._asking.values()), {}
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        with self._runtime.lock:
            if self._checker.follow(()).changed:
                self._cluster.rebalance()

    async def _ask(self, check: Check) -> None:
        probe = probe_for(check.config, self._cluster.name, self._secured)
        try:
            while True:
                await asyncio.sleep(max(0.0, check.due - self._runtime.clock()))
                self._hear(check, await self._answer(probe, check))
        finally:
            await probe.close()

    def _secured(self) -> "UpstreamSecurity":
        return self._runtime.security.upstream

    async def _answer(self, probe: Probe, check: Check) -> Result:
        try:
            return await probe.ask(check.endpoint)
        except Exception:
            log.exception("cluster %s: %s: no health check", self._cluster.name, check.endpoint.key)
            return Result.UNREACHED

    def _hear(self, check: Check, result: Result) -> None:
        cluster, before = self._cluster, check.healthy
        traffic = self._traffic(cluster.name)
        with self._runtime.lock:
            cluster.checks[result] += 1
            changed = self._checker.hear(check, result, traffic=traffic)
            outlier, endpoint = cluster.outlier, check.endpoint
            if result is Result.PASSED and outlier is not None and not endpoint.unhealthy:
                changed |= outlier.uneject(endpoint)
            if changed:
                cluster.rebalance()
            left = endpoint.key not in cluster.balance.endpoints
        if left:  # the configuration had lacked it already
            self.follow(cluster)
        if check.healthy is not before and check.healthy is not None:
            level = logging.INFO if check.healthy else logging.WARNING
            told = CHECKED[check.healthy]
            log.log(level, "cluster %s: %s is %s", cluster.name, endpoint.key, told)
        elif result is not Result.PASSED and check.config.always_log_health_check_failures:
            log.info("cluster %s: %s: health check %s", cluster.name, endpoint.key, result.value)


def _places(cluster: UpstreamCluster) -> list[UpstreamEndpoint]:
    """Whom to ask: not a name that is yet to be resolved, as its addresses are the endpoints."""
    endpoints = cluster.balance.endpoints.values()
    if not isinstance(cluster.balance.config.discovery, StrictDns):
        return list(endpoints)
    return [endpoint for endpoint in endpoints if _is_address(endpoint.address.host)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
