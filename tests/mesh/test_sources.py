from meshlib import Mesh

RULE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "reviews"},
    "spec": {"host": "reviews", "trafficPolicy": {"retryBudget": {"interval": "1s"}}},
}


def test_an_embedded_mesh_tells_what_it_does_not_act_on() -> None:
    mesh = Mesh("ratings", config=[RULE])
    assert mesh.ignored() == ()
    with mesh:
        (said,) = mesh.ignored()
    assert said.startswith("<config>[0]: spec.trafficPolicy.retryBudget.interval: ")
    assert "interval has no effect" in said


def test_a_kind_without_effect_is_told_and_logged(caplog) -> None:
    sidecar = {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "g"}}
    with Mesh("ratings", config=[sidecar]) as mesh:
        (said,) = mesh.ignored()
    assert "Sidecar is not supported yet" in said
    assert said in caplog.text
