"""How well the micro world is learnt: every target over seeds, in every language, beside its trivial baseline.

Fine-tunes each target in English with the quickstart's settings, from the committed encoder with its last updates made,
and writes ``benchmarks/results/micro_world.json``. `tests/test_learnability.py` holds one seed of it to margins set
from these figures.

Usage: ``python -m benchmarks.micro_world [--seeds 5]``
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.common import versions, write_result
from pipelines.micro_encoder import continue_pretraining
from pipelines.preset import load_preset
from polystilts.data.micro_source import MicroSource
from polystilts.data.roles import evaluation_languages, training_rows
from polystilts.evaluation import evaluate, evaluate_trivial, settings_for
from polystilts.formats import Pieces, make_format
from polystilts.formats.sentence import retrieval_layer
from polystilts.metrics import get_metric
from polystilts.metrics.bank import BankRow
from polystilts.runtime.predictor import Predictor
from polystilts.tasks import TaskSpec, get_task
from polystilts.training.loop import TrainingSettings, train
from polystilts.training.model import TorchBackend, build_model, read_config
from polystilts.training.objective import Mixture, TaskRows
from polystilts.training.objective import training_rows as encoded_rows

TARGETS = ("xnli", "pawsx", "xcopa", "udpos", "panx", "xquad", "tatoeba")


@dataclass(frozen=True)
class Score:
    """One language of one target.

    Attributes:
        value, trivial: main metric, 0..100, of the model and of the trivial baseline.
        error: standard error of `value` over rows.
    """

    value: float
    trivial: float
    error: float

    @property
    def clear(self) -> bool:
        """Above the trivial baseline by more than two standard errors."""
        return self.value - self.trivial > 2 * self.error


def learnt(spec: TaskSpec, encoder: Path, *, seed: int) -> dict[str, Score]:
    """Trains a target with the quickstart's settings and scores it in every language, all rows of all roles."""
    preset = load_preset("micro")
    source, pieces = MicroSource(), Pieces.open(encoder)
    layer = retrieval_layer(read_config(encoder).num_hidden_layers) if spec.format == "sentence" else None
    settings = settings_for(spec, layers=() if layer is None else (layer,), max_length=preset.max_length)
    format_ = make_format(pieces, settings)
    model = build_model(spec.format, encoder, labels=spec.labels, seed=seed)
    examples = training_rows(source, spec) if spec.train_task else []
    if spec.train_task:
        own, knobs = preset.tasks.get(spec.train_task), preset.training
        epochs = own.epochs if own and own.epochs else knobs.epochs
        mixture = Mixture(
            [TaskRows(spec.name, settings, encoded_rows(format_, examples), epochs, knobs.batch_size)],
            pad=pieces.pad,
            seed=seed,
            max_tokens=knobs.max_tokens,
            overhead=knobs.call_overhead,
        )
        loop = TrainingSettings(
            learning_rate=knobs.learning_rate, frozen=knobs.frozen, selection="last", save_seconds=3600, seed=seed
        )
        with tempfile.TemporaryDirectory(prefix="polystilts-") as scratch:
            train(model, mixture, loop, state_folder=Path(scratch))
    predictor = Predictor(format_, TorchBackend(model, settings), max_tokens=4096)
    languages = evaluation_languages(source, spec)
    rows = evaluate(predictor, source, spec, languages, recipe="baseline", seed=seed, layer=layer).rows
    trivial = evaluate_trivial(source, spec, examples, languages)
    return {language: _score(spec, rows, trivial, language) for language in languages}


def zero_shot(scores: dict[str, Score]) -> tuple[float, float]:
    """Means of value and trivial baseline over the languages other than English."""
    others = [score for language, score in scores.items() if language != "en"]
    return float(np.mean([s.value for s in others])), float(np.mean([s.trivial for s in others]))


def _score(spec: TaskSpec, rows: Sequence[BankRow], trivial: Sequence[BankRow], language: str) -> Score:
    metric = get_metric(spec.metric)
    values = []
    for bank in (rows, trivial):
        part = [row for row in bank if row.language == language]
        values.append(metric.score([r.gold_value for r in part], [r.predicted_value for r in part], language))
    own = np.array([row.score for row in rows if row.language == language])
    return Score(values[0], values[1], 100 * float(own.std(ddof=1)) / len(own) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="fine-tuning seeds (default: 5)")
    seeds = parser.parse_args().seeds
    figures: dict[str, object] = {"seeds": seeds}
    table = Table(title=f"micro world: zero-shot mean of seven languages over {seeds} seeds")
    for heading in ("target", "mean", "lowest seed", "trivial", "lowest gain", "languages > 2 SE"):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    with tempfile.TemporaryDirectory(prefix="polystilts-") as folder:
        encoder = continue_pretraining(Path(folder))
        for name in TARGETS:
            spec = get_task(name)
            runs = [learnt(spec, encoder, seed=seed) for seed in range(seeds if spec.train_task else 1)]
            means = [zero_shot(run) for run in runs]
            clear = min(sum(s.clear for language, s in run.items() if language != "en") for run in runs)
            gain = min(value - trivial for value, trivial in means)
            figures |= {
                f"{name}_mean": float(np.mean([value for value, _ in means])),
                f"{name}_lowest": min(value for value, _ in means),
                f"{name}_trivial": means[0][1],
                f"{name}_lowest_gain": gain,
                f"{name}_clear_languages": clear,
                **{f"{name}_{language}": float(np.mean([run[language].value for run in runs])) for language in runs[0]},
            }
            shown = (np.mean([v for v, _ in means]), min(v for v, _ in means), means[0][1], gain)
            table.add_row(name, *(f"{value:.1f}" for value in shown), f"{clear} of 7")
    Console().print(table)
    write_result("micro_world", figures, versions=versions(["torch", "transformers", "tokenizers"]))


if __name__ == "__main__":
    main()
