import json
from pathlib import Path

from meshlib.controlplane.manifests.retry_on import unknown_conditions, words


def test_retry_words_are_told_apart_as_envoy_does(testdata: Path) -> None:
    vectors = json.loads((testdata / "envoy_vectors_public.json").read_text())
    masks, rows = vectors["retry_masks"], vectors["retry_on_parse"]
    assert len(rows) == 8
    for row in rows:
        unknown = set(unknown_conditions(row["input"]))
        kind = "grpc:" if row["kind"] == "retry_grpc_on" else ""
        known = [word for word in words(row["input"]) if word not in unknown]
        assert sum(masks[kind + word] for word in known) == row["mask"], row
        assert (not unknown) == row["all_valid"], row
