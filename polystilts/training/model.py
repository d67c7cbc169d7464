"""An encoder with the Hugging Face head of a format: built, run on rows, and scored against targets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaForMultipleChoice,
    XLMRobertaForQuestionAnswering,
    XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification,
    XLMRobertaModel,
)
from transformers import initialization as init
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaPreTrainedModel
from transformers.utils import logging as transformers_logging

from polystilts.errors import InvalidValue, MissingData, TokenizerMismatch
from polystilts.formats import FormatSettings
from polystilts.formats.tagging import IGNORED
from polystilts.formats.tokenizer import Pieces
from polystilts.runtime.folders import read_json

#: Where a dual encoder's scale starts (LAReQA's training script in XTREME-R).
FIRST_SCALE = 100.0


class XLMRobertaDualEncoder(XLMRobertaPreTrainedModel):
    """One encoder for queries and candidates: the pooler's output (dense + tanh of `<s>`) at length 1.

    `scale` times the cosine of two texts is the logit that they belong together; it is trained with the rest. The
    folder it is saved to opens as any XLM-R does: an encoder class takes `roberta` and leaves the scale.
    """

    def __init__(self, config: XLMRobertaConfig) -> None:
        super().__init__(config)
        self.roberta = XLMRobertaModel(config, add_pooling_layer=True)
        self.scale = nn.Parameter(torch.tensor(FIRST_SCALE))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, XLMRobertaDualEncoder):
            init.constant_(module.scale, FIRST_SCALE)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[rows, tokens] -> [rows, hidden], each of length 1."""
        pooled = self.roberta(input_ids, attention_mask=attention_mask).pooler_output
        # In bf16 a cosine is known to 2-3 digits, which times 100 is noise: the division is done in fp32.
        return functional.normalize(pooled.float(), dim=-1)


_CLASSES: Mapping[str, Any] = {
    "pair": XLMRobertaForSequenceClassification,
    "choice": XLMRobertaForMultipleChoice,
    "tagging": XLMRobertaForTokenClassification,
    "span": XLMRobertaForQuestionAnswering,
    "sentence": XLMRobertaModel,
    "encoder": XLMRobertaModel,
    "dual": XLMRobertaDualEncoder,
    "mlm": XLMRobertaForMaskedLM,
}


def build_for(settings: FormatSettings, folder: Path, *, seed: int = 0) -> PreTrainedModel:
    """The model of a format with these settings over the weights of a folder; see `build_model`."""
    kind = "dual" if settings.format == "sentence" and settings.pooling == "pooler" else settings.format
    return build_model(kind, folder, labels=settings.labels, seed=seed)


def build_model(kind: str, folder: Path, *, labels: Sequence[str] = (), seed: int = 0) -> PreTrainedModel:
    """The Hugging Face class for a format, 'dual', 'mlm' or 'encoder' over the weights of a checkpoint folder, float32.

    A head that the folder has is kept if it fits. What the folder lacks, the head of a new task, is drawn from
    `seed`; what the class has no place for is left out.

    Raises:
        MissingData: no such folder, or no config or weights in it.
        InvalidValue: not an XLM-R configuration.
    """
    config = read_config(folder)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    extra: dict[str, Any] = {}
    # Without labels of its own a class must not inherit those of an earlier phase: a span head has two outputs.
    names = list(labels) if kind in ("pair", "tagging") else ["LABEL_0", "LABEL_1"]
    config.id2label = dict(enumerate(names))
    config.label2id = {name: i for i, name in enumerate(names)}
    if kind in ("sentence", "encoder"):
        extra["add_pooling_layer"] = kind == "encoder" and has_weights(folder, "pooler.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = _CLASSES[kind].from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            # The head of another number of labels; all other sizes are those of the folder's own configuration.
            ignore_mismatched_sizes=True,
            **extra,
        )
    if kind == "mlm" and not config.tie_word_embeddings and not has_lm_head(folder):
        # An untied LM head that is not there starts as a tied one would be.
        lm: Any = model
        lm.lm_head.decoder.weight.data.copy_(lm.roberta.embeddings.word_embeddings.weight.data)
    return model


def has_lm_head(folder: Path) -> bool:
    """Whether a checkpoint folder's weights have an LM head."""
    return has_weights(folder, "lm_head.")


def has_weights(folder: Path, part: str) -> bool:
    """Whether some weight of a checkpoint folder has `part` in its name."""
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            if any(part in name for name in file.keys()):  # noqa: SIM118
                return True
    return False


def read_config(folder: Path) -> XLMRobertaConfig:
    """The configuration of a checkpoint folder, checked to be XLM-R's and to have weights beside it."""
    if not folder.is_dir():
        raise MissingData(f"no such folder: {folder.absolute()}", param="base", given=str(folder))
    raw = read_json(folder / "config.json")
    if raw.get("model_type") != "xlm-roberta":
        raise InvalidValue(
            f"{folder} holds a {raw.get('model_type')!r} model; Polystilts trains 'xlm-roberta'",
            param="base",
            limit="xlm-roberta",
            given=raw.get("model_type"),
        )
    if not list(folder.glob("*.safetensors")):
        raise MissingData(f"no safetensors weights in {folder.absolute()}", param="base", given=str(folder))
    return XLMRobertaConfig.from_pretrained(folder, local_files_only=True)


def check_tokenizer(pieces: Pieces, config: XLMRobertaConfig, folder: Path) -> None:
    """Refuses a tokenizer with more pieces than the embedding has rows, or with another padding id.

    Raises:
        TokenizerMismatch: naming both sizes.
    """
    if pieces.vocabulary_size > config.vocab_size or pieces.pad != config.pad_token_id:
        raise TokenizerMismatch(
            f"tokenizer.json in {folder} has {pieces.vocabulary_size} pieces (padding id {pieces.pad}); "
            f"the weights were made for {config.vocab_size} (padding id {config.pad_token_id})",
            param="tokenizer.json",
            limit=config.vocab_size,
            given=pieces.vocabulary_size,
        )


def encoder_of(model: PreTrainedModel) -> XLMRobertaModel:
    """The encoder inside a head class (or the model itself if it is one)."""
    encoder: Any = model if isinstance(model, XLMRobertaModel) else model.roberta
    return cast(XLMRobertaModel, encoder)


def share_encoder(models: Sequence[PreTrainedModel], *, pooler: bool = False) -> None:
    """Makes every model use the embeddings and layers of the first; heads stay their own.

    Args:
        pooler: the models that have a pooler share it too, as jiant's do; else poolers are parts of heads.
    """
    first = encoder_of(models[0])
    for model in models[1:]:
        encoder_of(model).embeddings = first.embeddings
        encoder_of(model).encoder = first.encoder
    if pooler and (leader := with_pooler(models)) is not None:
        for model in models:
            if encoder_of(model).pooler is not None:
                encoder_of(model).pooler = encoder_of(leader).pooler


def with_pooler(models: Sequence[PreTrainedModel]) -> PreTrainedModel | None:
    """The first model whose class uses the pooler (multiple choice, dual encoders)."""
    return next((model for model in models if encoder_of(model).pooler is not None), None)


def bare_encoder(model: PreTrainedModel, *, pooler: bool = False) -> XLMRobertaModel:
    """Embeddings and layers alone: what travels to the next phase (`transfer: encoder`); or with the pooler."""
    encoder = XLMRobertaModel(cast(XLMRobertaConfig, model.config), add_pooling_layer=pooler)
    encoder.embeddings = encoder_of(model).embeddings
    encoder.encoder = encoder_of(model).encoder
    if pooler:
        encoder.pooler = encoder_of(model).pooler
    return encoder


def forward_rows(model: Any, settings: FormatSettings, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
    """Outputs by row, named as in `polystilts.formats.values.Outputs`.

    Args:
        input_ids, attention_mask: int64 [rows, tokens].
    """
    if settings.format == "choice":
        # The class wants [examples, choices, tokens]; rows of one choice each pack better.
        pooled = model.roberta(input_ids, attention_mask=attention_mask).pooler_output
        return {"logits": model.classifier(model.dropout(pooled))}
    if settings.format == "sentence" and settings.pooling == "pooler":
        return {"embeddings": model(input_ids, attention_mask)[:, None]}
    if settings.format == "sentence":
        states = model(input_ids, attention_mask=attention_mask, output_hidden_states=True).hidden_states
        mask = attention_mask[:, :, None].to(states[0].dtype)
        tokens = mask.sum(dim=1)
        pooled = [(states[layer] * mask).sum(dim=1) / tokens for layer in settings.layers]
        return {"embeddings": torch.stack(pooled, dim=1)}
    output = model(input_ids, attention_mask=attention_mask)
    if settings.format == "span":
        return {"start": output.start_logits, "end": output.end_logits}
    return {"logits": output.logits}


def summed_loss(
    settings: FormatSettings,
    outputs: Mapping[str, Tensor],
    targets: Sequence[np.ndarray],
    groups: Sequence[int],
    attention_mask: Tensor,
) -> Tensor:
    """Cross entropy summed over rows (pair), groups (choice), labelled tokens (tagging) or windows (span).

    Args:
        targets: one array a row, as the format's `targets` gives them.
        groups: sizes of consecutive groups of rows (choice); ignored otherwise.
        attention_mask: [rows, tokens]; padding is no candidate (span), so the loss does not depend on it.
    """
    device = next(iter(outputs.values())).device
    if settings.format == "choice":
        loss = torch.zeros((), device=device)
        right = np.split(np.array(targets), np.cumsum(groups)[:-1])
        for scores, marks in zip(outputs["logits"].float()[:, 0].split(list(groups)), right, strict=True):
            index = torch.tensor([int(marks.argmax())], device=device)
            loss = loss + functional.cross_entropy(scores[None], index)
        return loss
    if settings.format == "tagging":
        logits = outputs["logits"].float()
        padded = np.full(logits.shape[:2], IGNORED, dtype=np.int64)
        for row, target in enumerate(targets):
            padded[row, : len(target)] = target
        tags = torch.from_numpy(padded).to(device)
        return functional.cross_entropy(logits.flatten(0, 1), tags.flatten(), ignore_index=IGNORED, reduction="sum")
    gold = torch.from_numpy(np.stack(targets)).to(device)
    if settings.format == "span":
        padding = attention_mask == 0
        start, end = (outputs[name].float().masked_fill(padding, -torch.inf) for name in ("start", "end"))
        first = functional.cross_entropy(start, gold[:, 0], reduction="sum")
        last = functional.cross_entropy(end, gold[:, 1], reduction="sum")
        return (first + last) / 2
    return functional.cross_entropy(outputs["logits"].float(), gold, reduction="sum")


def contrastive_loss(embeddings: Tensor, scale: Tensor, targets: Sequence[np.ndarray]) -> Tensor:
    """Cross entropy query -> candidate summed over pairs: every other candidate of the call is a negative.

    Args:
        embeddings: [rows, 1, hidden] of length 1; the n-th query belongs to the n-th candidate.
        scale: [], times the cosine is the logit (LAReQA in XTREME-R).
        targets: 1 for the rows of queries, 0 for those of candidates.
    """
    vectors = embeddings[:, 0].float()
    asks = torch.from_numpy(np.stack(targets)).to(vectors.device) == 1
    # Autocast would multiply in bf16, whose error times the scale is of the order of the loss.
    with torch.autocast(vectors.device.type, enabled=False):
        logits = scale.float() * vectors[asks] @ vectors[~asks].T
    right = torch.arange(len(logits), device=logits.device)
    return functional.cross_entropy(logits, right, reduction="sum")


class TorchBackend:
    """`Backend` over a torch model: evaluation without export.

    A model in training mode is switched to evaluation for the call and back.
    """

    def __init__(self, model: PreTrainedModel, settings: FormatSettings) -> None:
        self.model, self.settings = model, settings

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        device = self.model.device
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        with evaluating(self.model), torch.inference_mode():
            outputs = forward_rows(self.model, self.settings, tensors["input_ids"], tensors["attention_mask"])
        return {name: value.float().cpu().numpy() for name, value in outputs.items()}


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout) inside the block, the former mode after it."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
