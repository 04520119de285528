"""meshlib as it is installed: complete by itself, and a good neighbour."""

import zipfile
from itertools import permutations

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(400)]

PACKED = "meshlib/xds/protos/descriptors.bin"

USE_MESHLIB = """
from meshlib.model import Cluster
from meshlib.xds.codec import decode, encode
from meshlib.xds.protos import message_class
ours = encode(Cluster(name="reviews"))
assert decode(ours.type_url, ours.value).resource == Cluster(name="reviews")
"""
USE_OTLP = """
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span
OTLPSpanExporter(endpoint="127.0.0.1:1", insecure=True).shutdown()
assert Span.FromString(Span(name="call").SerializeToString()).name == "call"
"""
USE_XDS_PROTOS = """
from envoy.config.cluster.v3.cluster_pb2 import Cluster as TheirCluster
from google.protobuf.any_pb2 import Any as TheirAny
theirs = TheirAny()
theirs.Pack(TheirCluster(name="reviews", type=TheirCluster.EDS))
"""
MEET = """
opened = TheirCluster()
assert TheirAny.FromString(ours.SerializeToString()).Unpack(opened)
assert opened.name == "reviews"
assert message_class("google.protobuf.Any").FromString(theirs.SerializeToString()).value
assert message_class("envoy.config.cluster.v3.Cluster").FromString(theirs.value).name == "reviews"
assert message_class("envoy.config.cluster.v3.Cluster") is not TheirCluster
assert decode(ours.type_url, ours.value).resource == Cluster(name="reviews")
print("in peace")
"""


def test_a_wheel_brings_its_descriptors_and_nobody_elses_files(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert PACKED in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"meshlib", "meshlib_proxyless"}


def test_a_wheel_does_not_ask_for_xds_protos(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    assert "xds-protos" not in archive.read(metadata).decode()


def test_an_installed_wheel_speaks_xds(installed, run):
    where = "import meshlib; print(meshlib.__file__)"
    assert run(USE_MESHLIB + where, installed).startswith(str(installed))


def test_an_editable_install_packs_the_same_descriptors(editable, checkout, wheel, run):
    where = "import meshlib; print(meshlib.__file__)"
    assert run(USE_MESHLIB + where, python=editable).startswith(str(checkout))
    packed = (checkout / "src" / PACKED).read_bytes()
    assert packed == zipfile.ZipFile(wheel).read(PACKED)


def test_the_pool_is_loaded_without_generated_code(installed, run):
    code = """
import sys, time
from meshlib.xds import protos
before, begin = set(sys.modules), time.perf_counter()
protos.pool()
spent = time.perf_counter() - begin
print(f"pool loaded in {spent * 1000:.1f} ms", file=sys.__stdout__)
print(sorted(set(sys.modules) - before))
print(sorted({name.split(".")[0] for name in sys.modules} & {"envoy", "xds", "udpa", "grpc"}))
"""
    printed = run(code, installed).splitlines()
    print(printed[0])
    assert printed[1:] == ["[]", "[]"]


USES = {"meshlib": USE_MESHLIB, "otlp": USE_OTLP, "xds_protos": USE_XDS_PROTOS}


@pytest.mark.parametrize("order", list(permutations(USES)), ids="-".join)
def test_meshlib_otlp_and_xds_protos_live_in_one_process(order, installed, xds_protos, run):
    code = "".join(USES[name] for name in order)
    assert run(code + MEET, installed, xds_protos) == "in peace\n"
