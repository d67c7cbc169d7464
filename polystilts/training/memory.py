"""Memory of a training, computed from shapes: what fits on a GPU before one is rented."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import XLMRobertaConfig

from polystilts.errors import InvalidValue

#: fp32 weights, their gradients, and AdamW's two moments.
FP32, MOMENTS = 4, 2
#: What CUDA, cuBLAS and the allocator's fragments take beside tensors; a round figure, not measured.
OVERHEAD_BYTES = 1_500_000_000


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU, computed, not measured.

    Attributes:
        weights, gradients, moments: of all parameters (frozen ones have weights alone).
        activations: kept for backward by one micro-batch, at its largest moment.
        logits: of a head over the vocabulary (MLM), with their gradient; 0 without one.
        overhead: a round figure for the runtime.
    """

    weights: int
    gradients: int
    moments: int
    activations: int
    logits: int
    overhead: int = OVERHEAD_BYTES

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.activations + self.logits + self.overhead


def parameters_of(config: XLMRobertaConfig) -> tuple[int, int]:
    """Parameters of the embeddings and of the layers, poolers and heads left out."""
    width, inner = config.hidden_size, config.intermediate_size
    tables = config.vocab_size + config.max_position_embeddings + config.type_vocab_size
    attention = 4 * (width * width + width) + 2 * width
    feed_forward = 2 * width * inner + inner + width + 2 * width
    return tables * width + 2 * width, config.num_hidden_layers * (attention + feed_forward)


def training_memory(
    config: XLMRobertaConfig,
    *,
    max_tokens: int,
    max_length: int,
    precision: str = "bf16",
    gradient_checkpointing: bool = False,
    frozen_embeddings: bool = False,
    masked_tokens: int = 0,
) -> Memory:
    """What one update needs, micro-batch by micro-batch (`pack` holds each within `max_tokens` padded tokens).

    Per token and layer are kept: queries, keys, values, the attention's output, the inputs of both LayerNorms and their
    outputs, and the feed-forward's inner state before and after its activation; with dropout a byte for each of two
    masks. Attention is computed in tiles (PyTorch's scaled dot product), so no tokens x tokens matrix is kept; on a CPU
    with dropout it is. Under bf16 autocast all but LayerNorm's inputs have two bytes, its outputs are there twice more,
    and weights have a two-byte copy in autocast's cache. Checkpointing keeps the inputs of all layers and the whole of
    one. A test compares this with the tensors that a small encoder keeps.

    Args:
        config: of the encoder.
        max_tokens: padded tokens of a micro-batch.
        max_length: of a row: a single row passes `max_tokens` where it is longer.
        precision: 'fp32' or 'bf16' (autocast over fp32 weights).
        masked_tokens: of a micro-batch that go through an LM head; 0 = none has one.

    Raises:
        InvalidValue: another precision, or numbers below 1.
    """
    if precision not in ("fp32", "bf16"):
        raise InvalidValue("fp32 or bf16", param="precision", limit="fp32, bf16", given=precision)
    for name, value in (("max_tokens", max_tokens), ("max_length", max_length)):
        if value < 1:
            raise InvalidValue("at least 1", param=name, limit=1, given=value)
    embeddings, layers = parameters_of(config)
    trained = layers + (0 if frozen_embeddings else embeddings)
    tokens = max(max_tokens, max_length)
    width, inner, depth = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    low = 2 if precision == "bf16" else FP32
    kept = low * ((8 if precision == "bf16" else 6) * width + 2 * inner) + FP32 * 2 * width
    masks = 2 * width if config.hidden_dropout_prob else 0
    layer = tokens * (kept + masks)
    states = tokens * width * FP32
    activations = states * (depth + 1) + layer if gradient_checkpointing else layer * depth + states
    # The copy of matrices that autocast keeps while an update's micro-batch runs.
    copies = low * layers if precision == "bf16" else 0
    return Memory(
        weights=FP32 * (embeddings + layers) + copies,
        gradients=FP32 * trained,
        moments=MOMENTS * FP32 * trained,
        activations=activations,
        # Logits in the low precision, in fp32 for the loss, and their gradient.
        logits=masked_tokens * config.vocab_size * (low + 2 * FP32),
    )
