"""Who is called first depends on where the caller stands."""

import pytest

from meshlib import model
from meshlib.controlplane import Scope, findings_of

PLACES = {
    "10.0.0.1": "eu/a/1",
    "10.0.0.2": "eu/a/2",
    "10.0.0.3": "eu/b/1",
    "10.0.0.4": "us/a/1",
    "10.0.0.5": "asia/a/1",
}
EJECTS = "outlierDetection: {}\n"
HERE = Scope("default", (("version", "v1"),), model.Locality("eu", "a", "1"))


def entry(address, place, number):
    labels = f"{{app: reviews, version: v{number}}}"
    return f"""---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: w{number}}}
spec: {{address: {address}, locality: {place}, labels: {labels}}}
"""


ENTRIES = "".join(entry(a, place, n + 1) for n, (a, place) in enumerate(PLACES.items()))


@pytest.fixture
def seen_by(snapshot_of, destination_rule):
    """``seen_by(scope, policy)``: address → (priority, weight of its locality)."""

    def compiled(policy, scope=HERE, mesh=""):
        made = snapshot_of(ENTRIES, destination_rule(policy), mesh, scope=scope)
        assignment = made.endpoints["outbound|80||reviews.default.svc.cluster.local"]
        return {
            endpoint.address.host[-1]: (group.priority, group.load_balancing_weight)
            for group in assignment.endpoints
            for endpoint in group.lb_endpoints
        }

    return compiled


def priorities(seen):
    return "".join(f"{host}:{priority} " for host, (priority, _) in sorted(seen.items())).strip()


def test_the_nearest_are_called_first_once_somebody_may_be_ejected(seen_by):
    assert priorities(seen_by(EJECTS)) == "1:0 2:1 3:2 4:3 5:3"
    assert priorities(seen_by("loadBalancer: {simple: RANDOM}")) == "1:0 2:0 3:0 4:0 5:0"


def test_a_caller_of_unknown_place_prefers_nobody(seen_by):
    assert priorities(seen_by(EJECTS, Scope())) == "1:0 2:0 3:0 4:0 5:0"


def test_priorities_have_no_gaps(seen_by):
    africa = Scope("default", (), model.Locality("africa", "a", ""))
    assert priorities(seen_by(EJECTS, africa)) == "1:0 2:0 3:0 4:0 5:0"


@pytest.mark.parametrize(
    "setting, expected",
    [
        ("enabled: false", "1:0 2:0 3:0 4:0 5:0"),
        ("failover: [{from: eu, to: us}]", "1:0 2:1 3:2 4:3 5:4"),
        ("failover: [{from: us, to: eu}]", "1:0 2:1 3:2 4:3 5:3"),
        (
            "failoverPriority: [topology.kubernetes.io/region, topology.kubernetes.io/zone]",
            "1:0 2:0 3:1 4:2 5:2",
        ),
        ("failoverPriority: [version]", "1:0 2:1 3:1 4:1 5:1"),
        ("failoverPriority: [version=v4]", "1:1 2:1 3:1 4:0 5:1"),
        (
            "failoverPriority: [version=v4], failover: [{from: eu, to: us}]",
            "1:1 2:2 3:3 4:0 5:4",
        ),
    ],
)
def test_failover_follows_the_setting(seen_by, setting, expected):
    policy = f"{EJECTS}loadBalancer: {{localityLbSetting: {{{setting}}}}}"
    assert priorities(seen_by(policy)) == expected


def test_the_meshs_setting_holds_where_the_rule_has_none(seen_by):
    mesh = "---\nkind: MeshConfig\nlocalityLbSetting: {enabled: false}\n"
    assert priorities(seen_by(EJECTS, mesh=mesh)) == "1:0 2:0 3:0 4:0 5:0"
    own = f"{EJECTS}loadBalancer: {{localityLbSetting: {{enabled: true}}}}"
    assert priorities(seen_by(own, mesh=mesh)) == "1:0 2:1 3:2 4:3 5:3"


def test_shares_are_split_over_the_localities_they_name(seen_by):
    setting = "distribute: [{from: eu/a/*, to: {'eu/a/*': 81, 'eu/b': 9, 'us/*': 10}}]"
    seen = seen_by(f"loadBalancer: {{localityLbSetting: {{{setting}}}}}")
    assert seen == {"1": (0, 41), "2": (0, 41), "3": (0, 9), "4": (0, 10)}


def test_shares_of_others_change_nothing(seen_by):
    setting = "distribute: [{from: us/*, to: {'us/*': 100}}]"
    policy = f"{EJECTS}loadBalancer: {{localityLbSetting: {{{setting}}}}}"
    assert set(seen_by(policy).values()) == {(0, 1)}


def test_zones_are_left_to_the_client_and_regions_fail_over(seen_by, cluster_of):
    zones = "loadBalancer: {zoneAwareLbSetting: {enabled: true, minClusterSize: 3}}"
    assert cluster_of(zones).locality_lb == model.ZoneAware(min_cluster_size=3)
    assert priorities(seen_by(f"{EJECTS}{zones}")) == "1:0 2:0 3:0 4:1 5:1"


def test_localities_share_the_load_by_weight(cluster_of):
    assert cluster_of("").locality_lb == model.LocalityWeighted()
    off = "loadBalancer: {localityLbSetting: {enabled: false}}"
    assert cluster_of(off).locality_lb is None
    mesh = "---\nkind: MeshConfig\nzoneAwareLbSetting: {enabled: true}\n"
    assert cluster_of("", mesh).locality_lb == model.ZoneAware()


def test_failover_that_never_happens_is_said(world_of, destination_rule):
    rule = destination_rule("loadBalancer: {localityLbSetting: {failoverPriority: [version]}}")
    said = [finding.message for finding in findings_of(world_of(rule))]
    assert "failoverPriority has no effect without outlierDetection" in said


def test_a_subset_may_be_a_place(snapshot_of, destination_rule):
    extra = "subsets: [{name: us, labels: {topology.kubernetes.io/region: us}}]"
    made = snapshot_of(ENTRIES, destination_rule("", extra=extra))
    (group,) = made.endpoints["outbound|80|us|reviews.default.svc.cluster.local"].endpoints
    assert [str(endpoint.address) for endpoint in group.lb_endpoints] == ["10.0.0.4:80"]


def test_weights_that_clients_could_not_add_up_become_smaller_alike(snapshot_of):
    texts = [entry(f"10.0.0.{n}", place, n) for n, place in enumerate(("eu", "eu", "us"), 1)]
    weights = (4294967295, 4294967295, 1)
    made = snapshot_of(
        *(
            text.replace("address:", f"weight: {weight}, address:")
            for text, weight in zip(texts, weights, strict=True)
        )
    )
    groups = made.endpoints["outbound|80||reviews.default.svc.cluster.local"].endpoints
    by_endpoint = [[one.load_balancing_weight for one in group.lb_endpoints] for group in groups]
    assert by_endpoint == [[2147483647, 2147483647], [1]]
    assert [group.load_balancing_weight for group in groups] == [4294967294, 1]


def test_of_two_workloads_with_one_address_the_first_counts(snapshot_of):
    twice = entry("10.0.0.1", "eu/a/1", 1) + entry("10.0.0.1", "us/a/1", 2)
    made = snapshot_of(twice).endpoints["outbound|80||reviews.default.svc.cluster.local"]
    (group,) = made.endpoints
    assert group.locality == model.Locality("eu", "a", "1")
    assert len(group.lb_endpoints) == 1
