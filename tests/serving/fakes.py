"""A server's runtime without a model: FakeBackend under every target of the tiny world."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.runtime.backend import Backend, FakeBackend
from polystilts.runtime.bundle import Bundle
from polystilts.runtime.cost import CallCost
from polystilts.runtime.models_folder import Delivered
from polystilts.runtime.pool import Model, Pool
from polystilts.runtime.predictor import Predictor
from polystilts.runtime.scheduler import Engine, Scheduler
from serving.runtime import Runtime
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


def fake_model(target: str, *, settings: FormatSettings | None = None, backend: Backend | None = None) -> Model:
    """A model whose backend is a FakeBackend; its self-test is said to have passed."""
    settings = settings or SETTINGS[target]
    format_ = make_format(Pieces(tiny_tokenizer()), settings)
    predictor = Predictor(format_, backend or FakeBackend(outputs(settings)))
    digest = hashlib.sha256(target.encode()).hexdigest()
    bundle = Bundle(Path(), target, settings, "fp32", {}, {"tolerance": 1e-5, "cases": []}, {}, digest)
    return Model(bundle, format_, Engine(predictor.call, CallCost(1.0, 0.01), name=target), 0.0)


def fake_runtime(models: Iterable[str | Model] = SETTINGS, *, lanes: int = 2, **options: Any) -> Runtime:
    """A runtime over fake models; `options` are the scheduler's."""
    runtime = Runtime(Pool(), Scheduler(lanes, **options))
    for model in models:
        model = fake_model(model) if isinstance(model, str) else model
        target = model.bundle.target
        delivered = Delivered(target, model.bundle.digest, f"polystilts-{target}", "1")
        runtime.take(target, delivered, runtime.pool.adopt(model))
    return runtime
