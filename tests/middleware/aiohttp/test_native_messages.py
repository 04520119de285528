from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from meshlib.middleware._aiohttp_message import NativeRequest, NativeResponse

HEADERS = (("X-Two", "1"), ("x-two", "2"), ("User-Agent", "curl"))


def test_one_header_is_found_as_if_all_had_been_read():
    native = make_mocked_request("GET", "/", CIMultiDict(HEADERS))
    request = NativeRequest(native, "a:80", "/", "a:80", "http")
    response = NativeResponse(web.Response(headers=CIMultiDict(HEADERS)))
    for message in (request, response):
        found = [message.first(name) for name in ("x-two", "user-agent", "x-none")]
        assert found == ["1", "curl", None]
        table = dict(reversed(message.headers))
        assert found == [table.get(name) for name in ("x-two", "user-agent", "x-none")]
