"""Weights between two checkpoints of one encoder."""

from __future__ import annotations

import torch
from torch import nn

from polystilts.errors import InvalidValue


@torch.no_grad()
def move_towards(module: nn.Module, other: nn.Module, share: float) -> None:
    """Makes every parameter of `module` (1 - share) of itself and `share` of `other`'s, in place.

    An average of fine-tuned and pretrained weights keeps what pretraining knew of other inputs at little loss on those
    trained on (WiSE-FT; Wortsman et al., 2022, arXiv:2109.01903); here other inputs are other languages.

    Raises:
        InvalidValue: a share outside 0 to 1, or parameters of other names or shapes.
    """
    if not 0 <= share <= 1:
        raise InvalidValue(f"a share lies between 0 and 1, not {share}", param="average", limit=1, given=share)
    mine, others = dict(module.named_parameters()), dict(other.named_parameters())
    shapes = [{name: tuple(p.shape) for name, p in named.items()} for named in (mine, others)]
    if shapes[0] != shapes[1]:
        differing = sorted(name for name in mine.keys() | others.keys() if shapes[0].get(name) != shapes[1].get(name))
        raise InvalidValue(f"two encoders of different shape: {', '.join(differing[:3])}", param="average")
    for name, parameter in mine.items():
        parameter.lerp_(others[name].to(parameter.device), share)
