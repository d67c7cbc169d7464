"""Robust training for transfer: losses under perturbed embeddings (Huang et al., 2021, arXiv:2104.08645).

A word's embedding and that of its translation are near each other, not equal; an encoder that tolerates noise around
the English embedding tolerates the translation. Two ways, as wrappers of an update's micro-batches:

- `adversarial`: the mean of the loss and of the loss at the worst point nearby, one gradient step away (the fast
  gradient method on embeddings: Miyato et al., 2017, arXiv:1605.07725).
- `smoothing`: the loss at a random point nearby, uniform in a ball around each token's embedding (randomised smoothing
  with random perturbation).

Where we differ from the paper: one step instead of several projected ones; the ball's radius is a share of the mean
length of the micro-batch's token embeddings, so that one value suits encoders of any scale; padding and special tokens
are perturbed as other tokens are; smoothing is used in training alone, predictions are made once and clean. Its third
method (smoothing by substituting synonyms) needs lists of synonyms and is not here. The paper's radii are not known to
us.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from polystilts.errors import UnknownName

MicroBatch = Callable[[Any], Tensor]

METHODS = ("adversarial", "smoothing")


def perturbed(update: Iterable[MicroBatch], method: str, radius: float) -> Iterator[MicroBatch]:
    """The micro-batches of an update, made robust; '' leaves them as they are.

    Each must call the encoder once, and the loop must have gone backward through one before it asks for the next: the
    adversarial point is found in the gradient of the clean loss.

    Raises:
        UnknownName: neither '' nor one of METHODS.
    """
    if method and method not in METHODS:
        raise UnknownName("robust training", method, METHODS, param="robust")
    for micro_batch in update:
        if not method:
            yield micro_batch
        elif method == "smoothing":
            yield lambda module, inner=micro_batch: _moved(module, inner, lambda x: in_ball(x, radius))  # type: ignore[misc]
        else:
            seen: list[Tensor] = []
            yield lambda module, inner=micro_batch, seen=seen: _watched(module, inner, seen) / 2  # type: ignore[misc]
            yield lambda module, inner=micro_batch, seen=seen: (  # type: ignore[misc]
                _moved(module, inner, lambda _: uphill(seen[0], radius)) / 2
            )


def in_ball(embeddings: Tensor, radius: float) -> Tensor:
    """Steps from [rows, tokens, hidden], each token's uniform in a ball of `radius` times the tokens' mean length."""
    noise = torch.randn_like(embeddings)
    # A direction from a normal, and a length whose distribution makes the volume uniform.
    length = torch.rand_like(embeddings[..., :1]) ** (1 / embeddings.shape[-1])
    return noise * (length * _radius(embeddings, radius) / noise.norm(dim=-1, keepdim=True).clamp_min(1e-12))


def uphill(embeddings: Tensor, radius: float) -> Tensor:
    """Steps [rows, tokens, hidden] along the gradient that `embeddings` holds, the longest token's step of each row of
    full length: a token that decides nothing hardly moves."""
    gradient = embeddings.grad
    assert gradient is not None, "the clean loss has gone backward"
    longest = gradient.norm(dim=-1, keepdim=True).amax(dim=1, keepdim=True).clamp_min(1e-12)
    return gradient / longest * _radius(embeddings, radius)


def _radius(embeddings: Tensor, radius: float) -> Tensor:
    return radius * embeddings.norm(dim=-1).mean()


def _watched(module: nn.Module, micro_batch: MicroBatch, seen: list[Tensor]) -> Tensor:
    """The clean loss; afterwards `seen` holds the embeddings, and after backward these hold their gradient."""

    def keep(embeddings: Tensor) -> Tensor:
        # Frozen embeddings have no gradient to go on to, but what is above them has.
        watched = embeddings if embeddings.requires_grad else embeddings.detach().requires_grad_()
        watched.retain_grad()
        seen.append(watched)
        return watched

    with _hooked(module, keep):
        return micro_batch(module)


def _moved(module: nn.Module, micro_batch: MicroBatch, step: Callable[[Tensor], Tensor]) -> Tensor:
    """The loss with a step added to the embeddings."""
    with _hooked(module, lambda embeddings: embeddings + step(embeddings.detach()).detach()):
        return micro_batch(module)


@contextlib.contextmanager
def _hooked(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block the output of the word embeddings is changed."""
    hook = word_embeddings(module).register_forward_hook(lambda _, inputs, output: change(output))
    try:
        yield
    finally:
        hook.remove()


def word_embeddings(module: nn.Module) -> nn.Module:
    """The one table of word embeddings of a model, or of models that share an encoder."""
    return next(part for name, part in module.named_modules() if name.endswith("word_embeddings"))
