"""The private pool: lazily there, complete, and nobody else's business."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshlib.errors import ConfigError, MeshError
from meshlib.xds import protos
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE


@pytest.mark.parametrize(
    "name",
    [
        *(url.rpartition("/")[2] for url in (LISTENER, ROUTE, CLUSTER, ENDPOINT)),
        "envoy.admin.v3.Certificates",
        "envoy.admin.v3.Clusters",
        "envoy.admin.v3.ConfigDump",
        "envoy.admin.v3.Listeners",
        "envoy.admin.v3.ServerInfo",
        "envoy.service.discovery.v3.DiscoveryResponse",
        "envoy.service.discovery.v3.DeltaDiscoveryRequest",
        "envoy.service.load_stats.v3.LoadStatsResponse",
        "envoy.service.status.v3.ClientStatusResponse",
        "envoy.service.auth.v3.CheckRequest",
        "envoy.service.ratelimit.v3.RateLimitRequest",
        "envoy.service.runtime.v3.Runtime",
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
        "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
        "envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
        "envoy.extensions.load_balancing_policies.random_subsetting.v3.RandomSubsetting",
        "envoy.config.bootstrap.v3.Bootstrap",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "stats.PluginConfig",
        "grpc.health.v1.HealthCheckRequest",
        "xds.service.orca.v3.OrcaLoadReportRequest",
        "xds.data.orca.v3.OrcaLoadReport",
        "xds.type.v3.TypedStruct",
        "google.rpc.Status",
    ],
)
def test_the_pool_has_what_the_mesh_speaks(name):
    assert protos.message_class(name).DESCRIPTOR.full_name == name


def test_a_class_is_made_once():
    name = "envoy.config.cluster.v3.Cluster"
    assert protos.message_class(name) is protos.message_class(name)


def test_a_name_that_is_not_there_is_a_key_error():
    with pytest.raises(KeyError):
        protos.message_class("envoy.NoSuchMessage")


def test_json_goes_both_ways_through_any():
    resource = {
        "@type": CLUSTER,
        "name": "reviews",
        "connect_timeout": "0.250s",
        "metadata": {"filter_metadata": {"meshlib": {"lines": [1.0, None, {}]}}},
    }
    assert protos.to_json(protos.from_json(resource)) == resource


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ({"@type": CLUSTER, "nmae": "reviews"}, "nmae"),
        ({"@type": "type.googleapis.com/envoy.NoSuchMessage"}, "NoSuchMessage"),
        ({"name": "reviews"}, "@type"),
        ({"@type": CLUSTER, "name": 5}, "name"),
        ({"@type": 5}, "proto-JSON"),
    ],
)
def test_json_that_is_no_message_is_refused_where_it_stands(resource, reason):
    with pytest.raises(ConfigError, match=reason) as raised:
        protos.from_json(resource, where="resources[0]")
    assert raised.value.problems[0].where == "resources[0]"


def test_a_missing_descriptor_file_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(protos, "DESCRIPTORS", tmp_path / "descriptors.bin")
    with pytest.raises(MeshError, match=r"python tools/pack_descriptors\.py"):
        protos._packed()


def python(code: str) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.check_output([sys.executable, "-c", code], text=True, env=env)


def test_loading_the_pool_imports_no_generated_code():
    code = """
import sys
from meshlib.xds import protos
before = set(sys.modules)
print(len(protos.pool().FindMessageTypeByName("envoy.config.cluster.v3.Cluster").fields) > 0)
new = set(sys.modules) - before
print(sorted(name for name in new if name.endswith(("_pb2", "_pb2_grpc"))))
print(sorted({name.split(".")[0] for name in sys.modules} & {"envoy", "xds", "udpa", "grpc"}))
"""
    assert python(code).split("\n")[:3] == ["True", "[]", "[]"]


def test_the_default_pool_does_not_learn_of_ours():
    code = """
from google.protobuf import descriptor_pool
from meshlib.xds import protos
protos.message_class("envoy.config.cluster.v3.Cluster")
try:
    descriptor_pool.Default().FindMessageTypeByName("envoy.config.cluster.v3.Cluster")
except KeyError:
    print("unknown")
"""
    assert python(code) == "unknown\n"


def test_importing_the_package_reads_nothing():
    code = """
import sys
sys.addaudithook(lambda event, args: event == "open" and str(args[0]).endswith("descriptors.bin")
    and print("read"))
from meshlib.xds import protos
print("imported")
protos.pool()
protos.pool()
"""
    assert python(code) == "imported\nread\n"
    assert Path(protos.DESCRIPTORS).is_file()
