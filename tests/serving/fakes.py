"""A server's runtime without a model: FakeBackend under every target of the tiny world."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.runtime.backend import FakeBackend
from polystilts.runtime.bundle import Bundle
from polystilts.runtime.models_folder import Delivered
from polystilts.runtime.predictor import Predictor
from serving.runtime import Runtime, Served
from tests.world.bundles import SETTINGS, tiny_tokenizer


def outputs(settings: FormatSettings) -> dict[str, tuple[int, ...]]:
    """Shapes of one row, as FakeBackend takes them."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "pair": {"logits": (len(settings.labels),)},
        "choice": {"logits": (1,)},
        "tagging": {"logits": (-1, len(settings.labels))},
        "span": {"start": (-1,), "end": (-1,)},
        "sentence": {"embeddings": (1, 4)},
    }
    return shapes[settings.format]


def fake_model(target: str, *, settings: FormatSettings | None = None) -> Served:
    """A model whose backend is a FakeBackend; its self-test is said to have passed."""
    settings = settings or SETTINGS[target]
    backend = FakeBackend(outputs(settings))
    predictor = Predictor(make_format(Pieces(tiny_tokenizer()), settings), backend)
    bundle = Bundle(Path(), target, settings, "fp32", {}, {"tolerance": 1e-5, "cases": []}, {}, "d" * 64)
    return Served(Delivered(target, "d" * 64, f"polystilts-{target}", "1"), bundle, predictor, 0.0, 0)


def fake_runtime(targets: Iterable[str] = SETTINGS) -> Runtime:
    return Runtime([fake_model(target) for target in targets])
