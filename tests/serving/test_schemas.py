"""What a model's card says of int8, for bundles as they are."""

from __future__ import annotations

from typing import Any

import pytest

from serving.schemas import ModelCard, SelfTest

NOTES = {"opset": 20, "instruction_set": "avx512_vnni"}
REST = {"excluded": 0.1, "embeddings": "fp16"}


def shown(notes: dict[str, Any]) -> dict[str, Any]:
    """`exported_with` of a card."""
    names = ("id", "target", "name", "version", "digest", "format", "precision")
    return ModelCard(
        **dict.fromkeys(names, "x"),
        created=0,
        labels=[],
        endpoints=[],
        exported_with=notes,
        scores={},
        lineage={},
        self_test=SelfTest(difference=0, tolerance=0),
        loaded=True,
    ).exported_with


@pytest.mark.parametrize(("per_channel", "weights"), [(False, "per-tensor"), (True, "per-channel")])
def test_int8_is_said_to_be_row_wise(per_channel: bool, weights: str) -> None:
    bundle = {**NOTES, "quantisation": {"name": "per-tensor", "per_channel": per_channel, **REST}}
    assert shown(bundle) == {**NOTES, "quantisation": {"activations": "row-wise", "weights": weights, **REST}}
    assert bundle["quantisation"]["name"] == "per-tensor", "the bundle's own notes are left as they are"


@pytest.mark.parametrize("notes", [{}, NOTES, {"quantisation": None}, {"quantisation": {"by": "somebody"}}])
def test_other_notes_stay_as_they_are(notes: dict[str, Any]) -> None:
    assert shown(notes) == notes
