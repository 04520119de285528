"""The service of each type, beside the aggregated one."""

import grpc
import grpc.aio
import pytest

from meshlib.controlplane.services import SERVICES
from meshlib.xds.protos import message_class
from meshlib.xds.types import CLUSTER, ENDPOINT, LISTENER, ROUTE

DISCOVERY = "envoy.service.discovery.v3"


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
@pytest.mark.parametrize(("kind", "name"), [("cds", "c"), ("eds", "c"), ("lds", "l"), ("rds", "r")])
async def test_each_type_has_a_service_of_its_own(server, connect, kind, name, delta):
    types = {"cds": CLUSTER, "eds": ENDPOINT, "lds": LISTENER, "rds": ROUTE}
    service, method, type_url = next(row for row in SERVICES if row[2] == types[kind])
    stream = await connect(server.address, delta=delta, service=service, method=method)
    await stream.ask(kind, name)
    response = await stream.accept()
    assert response.type_url == type_url
    assert len(response.resources) == 1


SDS = next(row for row in SERVICES if "secret" in row[0])


async def test_a_secret_that_nobody_has_is_answered_as_absent(server, connect):
    service, method, type_url = SDS
    stream = await connect(server.address, delta=True, service=service, method=method)
    await stream.ask(type_url, "default")
    response = await stream.accept()
    assert response.type_url == type_url
    assert list(response.removed_resources) == ["default"]


@pytest.mark.parametrize("service", [SERVICES[0], SDS], ids=["aggregated", "sds"])
async def test_secrets_are_served_and_followed(server, cache, connect, service):
    service, method, _ = service
    type_url = SDS[2]
    secret = {"@type": type_url, "name": "default", "generic_secret": {"secret": {}}}
    cache.update("all", [secret])
    stream = await connect(server.address, delta=True, service=service, method=method)
    await stream.ask(type_url, "default")
    (sent,) = (await stream.accept()).resources
    assert (sent.name, sent.resource.type_url) == ("default", type_url)
    secret["generic_secret"]["secret"]["inline_string"] = "sesame"
    cache.update("all", [secret])
    (rotated,) = (await stream.accept()).resources
    assert b"sesame" in rotated.resource.value
    cache.remove("all", ["default"], type_url=type_url)
    assert list((await stream.accept()).removed_resources) == ["default"]


@pytest.fixture
async def fetch(server):
    """``await fetch(service, *names)``: a single answer."""
    async with grpc.aio.insecure_channel(server.address) as channel:

        async def fetched(row, *names, type_url=""):
            service, method, _ = row
            call = channel.unary_unary(
                f"/{service}/Fetch{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=message_class(f"{DISCOVERY}.DiscoveryResponse").FromString,
            )
            request = message_class(f"{DISCOVERY}.DiscoveryRequest")(
                resource_names=names, type_url=type_url, version_info="0", response_nonce="old"
            )
            request.node.id = "t"
            return await call(request, timeout=10)

        yield fetched


@pytest.mark.parametrize(
    ("row", "name"), [*zip(SERVICES[1:5], "cclr", strict=True)], ids=["cds", "eds", "lds", "rds"]
)
async def test_each_type_may_be_fetched_once(fetch, row, name):
    response = await fetch(row, name, "nobody")
    assert (response.type_url, response.version_info) == (row[2], "1")
    assert len(response.resources) == 1


async def test_what_does_not_exist_is_fetched_as_nothing(fetch):
    assert list((await fetch(SERVICES[2], "nobody")).resources) == []
    assert list((await fetch(SDS, "nobody")).resources) == []


async def test_of_another_type_nothing_is_fetched(fetch):
    with pytest.raises(grpc.aio.AioRpcError, match="this service is that of"):
        await fetch(SERVICES[1], "c", type_url=ENDPOINT)


async def test_before_there_is_a_snapshot_nothing_is_fetched(fetch, cache):
    cache.clear("all")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await fetch(SERVICES[1], "c")
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("row", SERVICES[1:], ids=lambda row: row[1])
async def test_a_service_serves_no_other_type(server, connect, row):
    service, method, type_url = row
    stream = await connect(server.address, delta=True, service=service, method=method)
    await stream.ask("cds" if type_url != CLUSTER else "eds", "c")
    assert await stream.ended() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_service_of_one_type_needs_not_be_told_it(server, connect):
    service, method, type_url = SERVICES[1]
    stream = await connect(server.address, delta=True, service=service, method=method)
    await stream.ask("", "c")
    assert (await stream.accept()).type_url == type_url


async def test_the_aggregated_service_must_be_told_the_type(server, connect):
    stream = await connect(server.address, delta=True)
    await stream.ask("", "c")
    assert await stream.ended() == grpc.StatusCode.INVALID_ARGUMENT
