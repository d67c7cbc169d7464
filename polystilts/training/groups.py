"""Parameters in groups with a rate and a decay of their own."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

#: Names below a head class that are the encoder's.
_ENCODER = ("embeddings.", "encoder.")
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


def parameter_groups(
    module: nn.Module, *, weight_decay: float, layer_decay: float = 1.0, lm_head_rate: float = 1.0
) -> list[dict[str, Any]]:
    """AdamW's groups: those with another `scale` (of the learning rate) or `weight_decay` apart.

    With a layer-wise decay d, heads and pooler learn at the full rate, the top layer of n at d, the one below at d**2,
    and the embeddings at d**(n+1): lower layers, which hold more of what is common to languages, move less (Howard and
    Ruder, 2018, arXiv:1801.06146, discriminative fine-tuning; the geometric form is ELECTRA's, Clark et al., 2020,
    arXiv:2003.10555). A tied LM head is the embeddings and learns as they do.

    Args:
        weight_decay: of matrices; biases, LayerNorm and single numbers have none.
        layer_decay: d, above 0 and at most 1; 1 = all alike.
        lm_head_rate: scale of the LM head, which is a group of its own.
    """
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    depth = 1 + max((int(found[1]) for name in module.state_dict() if (found := _LAYER.search(name))), default=-1)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        scale = layer_decay ** steps_down(name, depth) * (lm_head_rate if "lm_head." in name else 1.0)
        spared = name.endswith("bias") or "LayerNorm" in name or "layer_norm" in name or parameter.ndim == 0
        groups.setdefault((scale, 0.0 if spared else weight_decay), []).append(parameter)
    return [{"params": own, "scale": scale, "weight_decay": decay} for (scale, decay), own in groups.items()]


def below_encoder(name: str) -> str:
    """A parameter's name without the task and the class in front: `encoder.layer.0...`, `embeddings...`, or its own."""
    return name.split("roberta.", 1)[-1]


def steps_down(name: str, depth: int) -> int:
    """How far a parameter lies below the heads: 0 of heads and pooler, 1 of the top layer, depth + 1 of embeddings."""
    below = below_encoder(name)
    if not below.startswith(_ENCODER):
        return 0
    layer = _LAYER.match(below)
    return depth - int(layer[1]) if layer else depth + 1
