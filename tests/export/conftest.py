"""Tiny fp32 bundles of every format, exported once a module when first asked for."""

import pytest
import torch

from polystilts.export.onnx import export_bundle
from polystilts.training.checkpoint import write_checkpoint
from polystilts.training.model import build_model
from tests.world.encoder import EXAMPLES, SETTINGS, tiny_encoder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Format -> fp32 bundle, with biases that are not zero (a new Hugging Face model's are)."""
    root = tmp_path_factory.mktemp("fp32")
    encoder = tiny_encoder(root / "encoder")
    made = {}

    def bundle(name):
        if name not in made:
            settings = SETTINGS[name]
            model = build_model(name, encoder, labels=settings.labels, seed=1)
            generator = torch.Generator().manual_seed(2)
            with torch.no_grad():
                for key, value in model.named_parameters():
                    if key.endswith("bias"):
                        value.normal_(std=0.5, generator=generator)
            checkpoint = write_checkpoint(
                root / name / "checkpoint", model, tokenizer_from=encoder, key="k", lineage={"seed": 1}
            )
            exported = export_bundle(checkpoint, settings, root / name / "b", target=name, examples=EXAMPLES[name])
            made[name] = exported.bundle
        return made[name]

    return bundle
