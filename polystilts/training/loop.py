"""One training loop for everything: AdamW, warm-up, accumulation, early stopping, and resuming bit for bit.

Source of the defaults: jiant's XTREME scripts (AdamW, decay 0.01 on neither bias nor LayerNorm, epsilon 1e-8, clipping
at 1.0, linear decay after a warm-up of a tenth of the updates).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from polystilts.errors import Diverged
from polystilts.training.groups import below_encoder, parameter_groups
from polystilts.training.objective import Objective, Several
from polystilts.training.robust import perturbed
from polystilts.training.state import TrainingState


class Recorder(Protocol):
    """Where the loop reports to: a progress bar, MLflow, or nothing."""

    def start(self, description: str, total: int, done: int) -> None: ...
    def advance(self, updates: int, metrics: Mapping[str, float]) -> None: ...
    def log(self, metrics: Mapping[str, float], step: int) -> None: ...
    def finish(self) -> None: ...


class NoRecorder:
    """Reports to nobody."""

    def start(self, description: str, total: int, done: int) -> None: ...
    def advance(self, updates: int, metrics: Mapping[str, float]) -> None: ...
    def log(self, metrics: Mapping[str, float], step: int) -> None: ...
    def finish(self) -> None: ...


@dataclass(frozen=True)
class TrainingSettings:
    """Knobs of the loop.

    Attributes:
        learning_rate: peak, reached after `warmup_share` of the updates, then linear to 0.
        warmup_updates: in place of the share, where it is not 0; where they are more than all updates, the peak is not
            reached (XTREME's scripts have 500, whatever the set's size).
        clip: largest norm of an update's gradient.
        precision: 'fp32', 'bf16' (autocast over fp32 master weights) or 'auto' (bf16 where the hardware has it).
        evaluations: how often the checkpoint rows are scored, evenly spaced; the last update always is.
        patience: evaluations without gain after which training stops; 0 = never.
        selection: 'best' keeps the weights of the best evaluation, 'last' those of the last update.
        frozen: parameters whose names start with one of these (below the encoder) are not trained.
        layer_decay: learning rate of a layer as a share of that above it; 1 = all alike (see `parameter_groups`).
        lm_head_rate: learning rate of an LM head as a share of the rest's.
        robust, robust_radius: perturbed embeddings, see `polystilts.training.robust`; '' = none.
        save_seconds: time between two saved states.
        log_every: updates between two logged losses.
    """

    learning_rate: float = 1e-5
    warmup_share: float = 0.1
    warmup_updates: int = 0
    weight_decay: float = 0.01
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    clip: float = 1.0
    precision: str = "auto"
    evaluations: int = 10
    patience: int = 0
    selection: str = "best"
    frozen: tuple[str, ...] = ()
    layer_decay: float = 1.0
    lm_head_rate: float = 1.0
    robust: str = ""
    robust_radius: float = 0.1
    gradient_checkpointing: bool = False
    save_seconds: float = 60.0
    log_every: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a training ended. `score` is that of the kept weights on the checkpoint rows (None: not scored)."""

    updates: int
    score: float | None
    best_step: int


def resolve_precision(precision: str) -> str:
    """'auto' -> 'bf16' on a GPU or CPU with bf16 arithmetic, else 'fp32'."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def train(
    module: nn.Module,
    objective: Objective,
    settings: TrainingSettings,
    *,
    state_folder: Path,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    recorder: Recorder | None = None,
    description: str = "train",
    first_step: int = 0,
    stop_at: int | None = None,
) -> Outcome:
    """Trains `module` in place; at the end it holds the kept weights.

    A state is saved into `state_folder` every `save_seconds`; a later call with the same arguments continues from it.
    Each update seeds torch from (seed, step), so that dropout too is the same after a resume: on a CPU the final
    weights are bit-identical to those of an uninterrupted run.

    Raises:
        Diverged: a gradient is infinite or not a number.

    Args:
        evaluate: main metric of every task on its checkpoint rows, by name, higher is better. Their unweighted mean is
            the score of the module (jiant's EqualMetricAggregator).
        first_step, stop_at: train only updates first_step .. stop_at - 1 of the objective.
    """
    recorder = recorder or NoRecorder()
    accelerator = _accelerator(resolve_precision(settings.precision))
    _freeze(module, settings.frozen)
    if settings.gradient_checkpointing:
        models: list[Any] = list(module.values()) if isinstance(module, nn.ModuleDict) else [module]
        for model in models:
            model.activation_checkpointing_enable()
    module.to(accelerator.device).train()
    optimizer = accelerator.prepare(_optimizer(module, settings))
    total = objective.total_updates
    stop = total if stop_at is None else min(stop_at, total)

    state = TrainingState(state_folder, module, optimizer)
    progress = state.load(step=first_step)
    recorder.start(description, stop - first_step, progress.step - first_step)
    due = _evaluation_steps(first_step, stop, settings.evaluations) if evaluate else frozenset[int]()
    saved = time.monotonic()
    while progress.step < stop:
        step = progress.step
        torch.manual_seed(_mixed(settings.seed, step))
        rate = _rate(step, total, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        loss = torch.zeros((), device=accelerator.device)
        for micro_batch in perturbed(objective.update(step), settings.robust, settings.robust_radius):
            with accelerator.autocast():
                part: Tensor = micro_batch(module)
            accelerator.backward(part)
            loss += part.detach()
        norm = nn.utils.clip_grad_norm_([p for p in module.parameters() if p.grad is not None], settings.clip)
        if not math.isfinite(float(norm)):
            raise Diverged(
                f"{description}: the gradient of update {step} is {float(norm)}; the last saved state is before it. "
                "A lower learning rate or a longer warm-up is the usual remedy",
                param="learning_rate",
                given=settings.learning_rate,
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress.step = step + 1

        metrics = {}
        if step % settings.log_every == 0 or progress.step == stop:
            metrics = {"loss": float(loss), "learning_rate": rate, "gradient_norm": float(norm)}
            if isinstance(objective, Several) and (name := objective.name(step)):
                metrics[f"loss/{name}"] = float(loss)
            recorder.log(metrics, progress.step)
        recorder.advance(1, metrics)
        if progress.step in due and evaluate:
            scores = evaluate(module)
            score = sum(scores.values()) / len(scores)
            curves = {f"checkpoint_score/{name}": value for name, value in scores.items()} if len(scores) > 1 else {}
            recorder.log({"checkpoint_score": score, **curves}, progress.step)
            state.offer(score, keep=settings.selection == "best")
            stale = sum(progress.best_step < earlier <= progress.step for earlier in due)
            if settings.patience and stale >= settings.patience:
                break
        if time.monotonic() - saved > settings.save_seconds:
            state.save()
            saved = time.monotonic()
    recorder.finish()
    if evaluate and settings.selection == "best":
        state.restore_best()
        return Outcome(progress.step, progress.best_score, progress.best_step)
    return Outcome(progress.step, progress.last_score, progress.step)


def _accelerator(precision: str) -> Accelerator:
    wanted = "no" if precision == "fp32" else precision
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != wanted:
        # The state is a process-wide singleton; phases of one job may ask for another precision.
        AcceleratorState._reset_state()
    return Accelerator(mixed_precision=wanted)


def _freeze(module: nn.Module, frozen: tuple[str, ...]) -> None:
    for name, parameter in module.named_parameters():
        if frozen and below_encoder(name).startswith(frozen):
            parameter.requires_grad_(False)


def _optimizer(module: nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    groups = parameter_groups(
        module,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay,
        lm_head_rate=settings.lm_head_rate,
    )
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(0.9, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=True,  # one pass over each tensor: a tenth of a small encoder's update otherwise
    )


def _rate(step: int, total: int, settings: TrainingSettings) -> float:
    share = max(1, round(settings.warmup_share * total)) if settings.warmup_share else 0
    warmup = settings.warmup_updates or share
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * (total - step) / max(1, total - warmup)


def _evaluation_steps(first: int, stop: int, count: int) -> frozenset[int]:
    return frozenset({stop, *(first + round((stop - first) * i / count) for i in range(1, count))} if count else {stop})


def _mixed(seed: int, step: int) -> int:
    """A torch seed from (seed, step), spread so that neighbouring seeds share no update's noise."""
    return (seed * 1_000_003 + step) * 2_654_435_761 % 2**63
