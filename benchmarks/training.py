"""Training speed: our packed updates against padding every row to 128, as XTREME's and jiant's scripts do.

All arms run through one call of `polystilts.training.loop.train` on the same rows of the same updates, one update of
each in turn, so that a busy machine slows all. Figures are ratios of rows per second, the median over updates; beside
it the ratio of the processor's seconds, which other programs disturb less. Packing can hardly win more than
`padded_tokens_over_needed`, which depends on how many pieces the tokenizer makes of a row.

    python -m benchmarks.training
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from benchmarks.common import PROJECT, versions, write_result
from polystilts.data.micro_source import MicroSource
from polystilts.data.source import Source, open_source
from polystilts.evaluation import settings_for
from polystilts.formats import Pieces, make_format
from polystilts.tasks import get_task
from polystilts.training.loop import NoRecorder, TrainingSettings, train
from polystilts.training.objective import MicroBatch, Mixture, TaskRows, padding_share, training_rows

PADDED_LENGTH = 128


@dataclass
class Arm:
    """One way of training, and the seconds of its updates, by the clock and of the processor."""

    name: str
    objective: Mixture
    autocast: bool = False
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)


class Turns:
    """An objective in which the arms take turns: update 0 of each, then update 1 of each, and so on."""

    def __init__(self, arms: Sequence[Arm], updates: int) -> None:
        self.arms, self.total_updates = arms, updates * len(arms)

    def update(self, step: int) -> Iterator[MicroBatch]:
        turn, number = divmod(step, len(self.arms))
        arm = self.arms[number]
        for micro_batch in arm.objective.update(turn):
            yield in_bf16(micro_batch) if arm.autocast else micro_batch


def in_bf16(micro_batch: MicroBatch) -> MicroBatch:
    """What the loop's precision 'bf16' does, for one arm of several in one run."""

    def run(module: nn.Module) -> Tensor:
        with torch.autocast("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16):
            return micro_batch(module)

    return run


class Clock(NoRecorder):
    """Gives each arm the seconds of its whole updates, optimizer included."""

    def __init__(self, arms: Sequence[Arm]) -> None:
        self.arms, self.step, self.since, self.cpu_since = arms, 0, 0.0, 0.0

    def start(self, description: str, total: int, done: int) -> None:
        self.since, self.cpu_since = time.perf_counter(), time.process_time()

    def advance(self, updates: int, metrics: Mapping[str, float]) -> None:
        now, cpu_now = time.perf_counter(), time.process_time()
        arm = self.arms[self.step % len(self.arms)]
        arm.seconds.append(now - self.since)
        arm.cpu_seconds.append(cpu_now - self.cpu_since)
        line = f"update {self.step // len(self.arms)}: {arm.name} {arm.seconds[-1]:.1f} s"
        print(f"{line}, {arm.cpu_seconds[-1]:.1f} s of the processor", flush=True)
        self.step += 1
        self.since, self.cpu_since = time.perf_counter(), time.process_time()


def bf16_reason() -> str:
    """Why bf16 is not measured; '' where the hardware has it."""
    if torch.cuda.is_available():
        return "" if torch.cuda.is_bf16_supported() else "the GPU has no bf16"
    return "" if torch.cpu._is_avx512_bf16_supported() else "the CPU has no AVX512-BF16"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/xtreme"), help="XTREME's download folder")
    parser.add_argument("--tokenizer", type=Path, default=Path("../shared/models/xlmr-mini"))
    parser.add_argument("--updates", type=int, default=4, help="measured updates of each arm")
    parser.add_argument("--batch-size", type=int, default=32, help="rows of an update")
    parser.add_argument("--max-tokens", type=int, default=1024, help="padded tokens of a micro-batch, both arms")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    spec = get_task("xnli")
    data, tokenizer = PROJECT / arguments.data, PROJECT / arguments.tokenizer
    source: Source = open_source(f"local:{data}", PROJECT) if data.is_dir() else MicroSource()
    examples = [row for row in source.rows(spec, "validation", "en")]
    rows_from = "XNLI dev, English" if data.is_dir() else f"micro world, English xnli rows (no folder {arguments.data})"
    pieces = Pieces.open(tokenizer)
    settings = settings_for(spec)
    rows = training_rows(make_format(pieces, settings), examples)
    task = TaskRows("xnli", settings, rows, 1, arguments.batch_size)

    def mixture(**options: Any) -> Mixture:
        return Mixture([task], pad=pieces.pad, seed=0, max_tokens=arguments.max_tokens, **options)

    packed, padded = mixture(), mixture(pad_to=PADDED_LENGTH)
    arms = [Arm("packed_fp32", packed), Arm("padded_fp32", padded)]
    no_bf16 = bf16_reason()
    if not no_bf16:
        arms.append(Arm("packed_bf16", packed, autocast=True))
    config = XLMRobertaConfig(
        vocab_size=pieces.vocabulary_size,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=pieces.pad,
    )
    config.num_labels = len(spec.labels)
    torch.manual_seed(0)
    model = XLMRobertaForSequenceClassification(config)

    with tempfile.TemporaryDirectory() as folder:
        train(
            model,
            Turns(arms, 1 + arguments.updates),
            TrainingSettings(precision="fp32", save_seconds=1e9),
            state_folder=Path(folder),
            recorder=Clock(arms),
        )
    for arm in arms:
        del arm.seconds[0], arm.cpu_seconds[0]  # the first updates allocate memory

    sizes = [len(packed.rows_of(turn)[1]) for turn in range(1, 1 + arguments.updates)]
    speed = {arm.name: sum(sizes) / sum(arm.seconds) for arm in arms}
    packed_arm, padded_arm = arms[:2]
    ratios = {
        arm.name: [b / a for a, b in zip(arm.seconds, padded_arm.seconds, strict=True)]
        for arm in arms
        if arm is not padded_arm
    }
    shares = {arm.name: padding_share(arm.objective, 1 + arguments.updates) for arm in arms}
    needed = shares["packed_fp32"]["tokens_needed"]
    computed = {name: share["tokens_computed"] for name, share in shares.items()}
    figures: dict[str, float | int | None] = {
        "packed_over_padded_fp32": round(statistics.median(ratios["packed_fp32"]), 2),
        "packed_bf16_over_padded_fp32": None if no_bf16 else round(statistics.median(ratios["packed_bf16"]), 2),
        "packed_over_padded_fp32_cpu_seconds": round(sum(padded_arm.cpu_seconds) / sum(packed_arm.cpu_seconds), 2),
        **{f"rows_per_second_{name}": round(value, 3) for name, value in speed.items()},
        "tokens_needed": int(needed),
        "tokens_computed_packed": int(computed["packed_fp32"]),
        "tokens_computed_padded": int(computed["padded_fp32"]),
        "padded_tokens_over_needed": round(computed["padded_fp32"] / needed, 2),
        "rows_per_update": arguments.batch_size,
        "updates_timed": arguments.updates,
        "updates_counted": 1 + arguments.updates,
    }
    path = write_result(
        "training",
        figures,
        versions=versions(["torch", "transformers", "accelerate", "tokenizers"]),
        threads=arguments.threads,
        device="cuda" if torch.cuda.is_available() else "cpu",
        rows=rows_from,
        model=f"XLM-R base shape (12 x 768), random weights, embedding of {pieces.vocabulary_size} pieces",
        optimizer="AdamW, update included in the time",
        tokenizer=tokenizer.name,
        ratios={name: [round(r, 2) for r in values] for name, values in ratios.items()},
        **({"packed_bf16_not_measured": no_bf16} if no_bf16 else {}),
    )
    for name, value in figures.items():
        print(f"{name:32} {value}")
    print(f"written to {path.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
