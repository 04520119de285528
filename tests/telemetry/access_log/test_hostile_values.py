"""Lines about callers who mean harm."""

import json

import pytest

from meshlib.model import Struct
from meshlib.model.log_format import ISTIO_FORMAT, ISTIO_JSON, secrets_in
from meshlib.model.telemetry import AccessLog, ExpressionFilter, FileAccessLog
from meshlib.telemetry.access_log import compile_log
from meshlib.telemetry.access_log.formats import compile_json, compile_text
from meshlib.telemetry.access_log.writer import Writers

HOSTILE = '\udcff\x00\x1b[2J\x7f\x85\u2028\u2029\r\n[2026] "GET /forged HTTP/1.1" 200'


@pytest.mark.parametrize("asked", ["request.headers", "[request.headers]", "{'all': request}"])
def test_no_secret_is_told_unless_its_name_is(asked, call, site):
    line = compile_text(f"%CEL({asked})%", site.whereabouts)(call())
    assert line in ("CelMap value", "CelList value")


@pytest.mark.parametrize(
    "asked",
    [
        "%CEL(request.headers['authorization'])%",
        '%CEL(request.headers["Authorization"])%',
        "%CEL(request.headers.authorization)%",
    ],
)
def test_whoever_asks_an_expression_for_a_secret_is_told_so(asked):
    assert secrets_in(asked) == ("authorization",)


def test_a_call_is_one_line_whatever_it_brings(call):
    headers = (("user-agent", HOSTILE), ("x-request-id", HOSTILE), ("x-forwarded-for", HOSTILE))
    hostile = call(path=f"/{HOSTILE}", method=HOSTILE, headers=headers)
    for make, format_ in ((compile_text, ISTIO_FORMAT), (compile_json, ISTIO_JSON)):
        line = make(format_, _whereabouts())(hostile).encode("utf-8", "backslashreplace").decode()
        assert line.splitlines() == [line.removesuffix("\n")]
        assert not any(ord(one) < 32 or 0x7F <= ord(one) < 0xA0 for one in line[:-1])


def test_no_field_of_a_json_line_is_made_up_by_a_caller(call, site):
    line = compile_json(Struct((("agent", "%REQ(USER-AGENT)%"),)), site.whereabouts)
    told = line(call(headers=(("user-agent", '","admin":"yes' + HOSTILE),)))
    assert json.loads(told) == {"agent": '","admin":"yes' + HOSTILE}


def test_no_octet_of_a_caller_keeps_a_call_out_of_the_log(call, site, tmp_path):
    writers = Writers()
    log = compile_log(
        AccessLog(
            name="deletions",
            config=FileAccessLog(path=str(tmp_path / "log"), text="%REQ(:METHOD)%\n"),
            filter=ExpressionFilter("request.method == 'DELETE' && response.code == 200"),
        ),
        site,
        writers,
    )
    log(call(method="DELETE", path="/\udcff", headers=(("user-agent", "\udcff"),)))
    writers.close()
    assert (tmp_path / "log").read_text() == "DELETE\n"


def _whereabouts():
    from meshlib.telemetry.access_log import here

    return here().whereabouts
