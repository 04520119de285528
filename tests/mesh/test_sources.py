from meshlib import Mesh

RULE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "reviews"},
    "spec": {"host": "reviews", "trafficPolicy": {"outlierDetection": {}}},
}


def test_an_embedded_mesh_tells_what_it_does_not_act_on() -> None:
    mesh = Mesh("ratings", config=[RULE])
    assert mesh.ignored() == ()
    with mesh:
        (said,) = mesh.ignored()
    assert said.startswith("<config>[0]: spec.trafficPolicy.outlierDetection: ")
    assert "do not eject yet" in said
