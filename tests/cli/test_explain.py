import json

URL = "http://ratings:9080/ratings/1"
TESTED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
    - fault: {abort: {httpStatus: 503, percentage: {value: 1}}}
      mirrors: [{destination: {host: ratings, subset: v2}, percentage: {value: 10}}]
      headers: {response: {set: {x-version: v1}}}
      route: [{destination: {host: ratings, subset: v1}}]
"""


def test_every_rule_is_listed_with_its_line_and_what_came_of_it(mesh, run):
    said = run("explain", "GET", URL, "-H", "end-user:jason", "--config", mesh)
    assert said.exit_code == 0
    first, second, third = said.output.splitlines()[1:4]
    assert first.split()[:2] == ["1", "mesh/routes.yaml:7:7"]
    assert first.endswith("matched")
    assert second.split()[1] == "mesh/routes.yaml:11:7"
    assert second.endswith("not reached")
    assert third.endswith("not reached")


def test_cluster_endpoints_and_policy_are_told(mesh, run):
    said = run("explain", "GET", URL, "-H", "end-user:jason", "--config", mesh).output
    assert "outbound|9080|v2|ratings.default.svc.cluster.local" in said
    assert "endpoints   10.0.0.2:9080" in said
    assert "timeout 0.5 s  retries 3 on 5xx" in said


def test_a_split_shows_every_share(mesh, run):
    said = run("explain", "GET", URL, "--config", mesh).output
    assert "|v1|ratings.default.svc.cluster.local  90 %" in said
    assert "|v2|ratings.default.svc.cluster.local  10 %" in said
    assert "skipped: " in said


def test_filters_copies_and_headers_of_the_answer_are_told(mesh, run):
    (mesh / "routes.yaml").write_text(TESTED)
    said = run("explain", "GET", URL, "--config", mesh).output
    assert "filters     fault" in said
    assert "copy        outbound|9080|v2|ratings.default.svc.cluster.local  10 %" in said
    assert "answer      x-version: v1" in said


def test_a_redirect_shows_its_answer(mesh, run):
    said = run("explain", "GET", "http://ratings:9080/old", "--config", mesh).output
    assert "response    301" in said
    assert "location: http://ratings:9080/new" in said


def test_programs_get_the_decision(mesh, run):
    said = run("explain", "GET", URL, "--config", mesh, "-o", "json")
    decision = json.loads(said.output)
    assert decision["cluster"] == "outbound|9080|v1|ratings.default.svc.cluster.local"
    assert [rule["outcome"] for rule in decision["trace"]] == ["skipped", "skipped", "matched"]


def test_a_host_outside_of_the_mesh_is_named_with_those_that_are_in(mesh, run):
    said = run("explain", "GET", "http://elsewhere:80/", "--config", mesh)
    assert said.exit_code == 0
    assert "PassthroughCluster" in said.output
    assert "Known: ratings:9080" in said.output


def test_the_caller_decides_which_short_names_exist(mesh, run):
    said = run("explain", "GET", URL, "--config", mesh, "--from", "other/productpage")
    assert "is not of the mesh" in said.output
    said = run("explain", "GET", URL, "--config", mesh, "--from", "productpage")
    assert "is not of the mesh" not in said.output


def test_a_config_that_is_refused_says_where(mesh, run):
    (mesh / "routes.yaml").write_text("kind: Nonsense\n")
    said = run("explain", "GET", URL, "--config", mesh)
    assert said.exit_code == 1
    assert "mesh/routes.yaml:1:7" in said.stderr
    assert "Next: meshlib analyze" in said.stderr


def test_wrong_usage_is_exit_code_2(mesh, run):
    assert run("explain", "GET", "ratings", "--config", mesh).exit_code == 2
    assert run("explain", "GET", URL, "-H", "nothing", "--config", mesh).exit_code == 2
    assert run("explain", "GET", URL, "--config", "nowhere").exit_code == 2
    assert run("explain", "GET", URL).exit_code == 2


def test_the_place_of_the_caller_decides_whom_it_calls(run, tmp_path) -> None:
    (tmp_path / "mesh.yaml").write_text(ZONES)
    said = run("compile", tmp_path, "--type", "eds", "--locality", "eu/b")
    groups = json.loads(said.output)[0]["endpoints"]
    assert {g["locality"]["zone"]: g.get("priority", 0) for g in groups} == {"a": 1, "b": 0}
    url = "http://reviews:9080/"
    assert run("explain", "GET", url, "--config", tmp_path, "--locality", "eu/b").exit_code == 0


def test_a_place_that_is_none_is_refused(run, tmp_path) -> None:
    (tmp_path / "mesh.yaml").write_text(ZONES)
    said = run("compile", tmp_path, "--locality", "/a")
    assert said.exit_code == 2
    assert "is not region/zone/sub_zone" in said.output


ZONES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  ports: [{number: 9080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
    - {address: 10.0.0.1, locality: eu/a}
    - {address: 10.0.0.2, locality: eu/b}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 5}
    loadBalancer: {localityLbSetting: {enabled: true}}
"""


TELEMETRY = """\
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: mesh, namespace: istio-system}
spec:
  tracing: [{randomSamplingPercentage: 50, enableIstioTags: false}]
  accessLogging: [{providers: [{name: envoy}], filter: {expression: response.code >= 500}}]
  metrics:
    - overrides:
        - match: {metric: REQUEST_COUNT}
          tagOverrides: {host: {value: request.host}, source_app: {operation: REMOVE}}
        - match: {metric: REQUEST_SIZE}
          disabled: true
"""


def test_what_is_told_of_such_a_call_is_told(mesh, run):
    (mesh / "telemetry.yaml").write_text(TELEMETRY)
    said = run("explain", "GET", URL, "--config", mesh).output.splitlines()
    assert said[-4:] == [
        "traced      50 % of new traces",
        "logged      /dev/stdout  if response.code >= 500",
        "counted     istio_request_bytes is not",
        "counted     istio_requests_total with host=request.host, no source_app",
    ]
    made = json.loads(run("explain", "GET", URL, "--config", mesh, "-o", "json").output)
    assert made["telemetry"]["tracing"]["random_sampling"] == 50


def test_whom_nobody_is_to_hear_of_is_told(mesh, run):
    off = "{tracing: [{disableSpanReporting: true}], accessLogging: [{disabled: true}]}"
    (mesh / "telemetry.yaml").write_text(TELEMETRY.partition("spec:")[0] + f"spec: {off}\n")
    said = run("explain", "GET", URL, "--config", mesh).output.splitlines()
    assert said[-2:] == ["traced      never", "logged      never"]
