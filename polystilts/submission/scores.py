"""XTREME's own numbers from prediction and label files, row by row as its evaluate.py (838c13b) pairs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from polystilts.errors import BadRow, MissingData
from polystilts.metrics import Metric, get_metric
from polystilts.metrics.benchmark import BenchmarkMeans, benchmark_means
from polystilts.metrics.core import Floats, ratio
from polystilts.submission.files import benchmark_tasks, file_of, read_labels, read_predictions
from polystilts.tasks import TaskSpec

#: Resamples behind the interval of a cell.
_RESAMPLES = 200


@dataclass(frozen=True)
class LanguageScore:
    """One language of one task.

    Attributes:
        main: the task's main metric, 0 to 100.
        details: every number by evaluate.py's name (accuracy; f1, precision, recall; exact_match, f1; map@20), for
            tagging also ``token_accuracy`` and the other numbers of the metric.
        rows: gold rows (BUCC: gold pairs).
        trivial: the main metric of always answering the most frequent gold label or tag, or of a guess (Tatoeba);
            None where these files do not tell it.
        low: lower end of the 95 % bootstrap interval over rows (this checkpoint, not this recipe).
    """

    main: float
    details: dict[str, float]
    rows: int
    trivial: float | None = None
    low: float | None = None

    @property
    def floor(self) -> bool:
        """Not told apart from the trivial answer."""
        return self.trivial is not None and self.low is not None and self.low <= self.trivial


@dataclass(frozen=True)
class SubmissionScores:
    """Task -> language -> scores, and the averages (`polystilts.metrics.benchmark`)."""

    benchmark: str
    languages: dict[str, dict[str, LanguageScore]]
    means: BenchmarkMeans = field(repr=False)

    def task_details(self, task: str) -> dict[str, float]:
        """evaluate.py's ``avg_...`` numbers of a task, over the languages present."""
        scores = self.languages[task]
        names = next(iter(scores.values())).details
        averages = {f"avg_{n}": sum(s.details[n] for s in scores.values()) / len(scores) for n in names}
        return averages | {"avg_metric": self.means.tasks[task].value}

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""

        def mean(value: Any) -> dict[str, Any]:
            return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(value).items()} | {"title": value.title}

        return {
            "benchmark": self.benchmark,
            "overall": {name: mean(value) for name, value in self.means.overall.items()},
            "tasks": {
                task: {
                    **mean(self.means.tasks[task]),
                    **self.task_details(task),
                    "languages": {name: {**vars(s), "floor": s.floor} for name, s in scores.items()},
                }
                for task, scores in self.languages.items()
            },
        }


def score_folder(
    predictions: str | Path, labels: str | Path, benchmark: str, *, partial: bool = False
) -> SubmissionScores:
    """Score every task that has a folder on both sides, with the numbers of XTREME's evaluate.py.

    Args:
        predictions, labels: folders of all tasks.
        benchmark: 'xtreme' or 'xtreme-r'.
        partial: pass over languages that have no file on one of the sides; evaluate.py does not.

    Raises:
        UnknownName: an unknown benchmark.
        MissingData: no folder, no task in both folders, or without `partial` a language without its file.
        BadRow: a file that does not have its form, or a wrong number of lines.
    """
    tasks = benchmark_tasks(benchmark)
    folders = Path(predictions), Path(labels)
    for name, folder in zip(("predictions", "labels"), folders, strict=True):
        if not folder.is_dir():
            raise MissingData(f"no folder {folder.absolute()}", param=name, given=str(folder))
    found: dict[str, dict[str, LanguageScore]] = {}
    for task, spec in tasks.items():
        if not all((folder / task).is_dir() for folder in folders):
            continue
        for language in spec.benchmarks[benchmark]:
            files = [file_of(folder, benchmark, spec, language) for folder in folders]
            absent = [file for file in files if not file.is_file()]
            if not absent:
                found.setdefault(task, {})[language] = score_files(files[0], files[1], spec, language)
            elif not partial:
                raise MissingData(f"{absent[0]} is missing: {spec.title} in {language!r}", given=str(absent[0]))
    if not found:
        raise MissingData(
            f"{folders[0]} and {folders[1]} have no files of the same task; folders of {benchmark}: {', '.join(tasks)}"
        )
    main = {task: {language: score.main for language, score in scores.items()} for task, scores in found.items()}
    listed = {task: spec.benchmarks[benchmark] for task, spec in tasks.items()}
    return SubmissionScores(benchmark, found, benchmark_means(benchmark, main, listed))


def score_files(prediction_file: Path, label_file: Path, spec: TaskSpec, language: str) -> LanguageScore:
    """Score one language.

    Raises:
        MissingData, BadRow: as `score_folder`.
    """
    task = spec.data
    golds, predicted = _aligned(prediction_file, label_file, task)
    if not golds:
        raise BadRow(str(label_file), "no rows")
    metric = get_metric(spec.metric)
    statistics = metric.statistics(golds, predicted, language)
    main, details = _details(metric, statistics.sum(axis=0))
    if spec.format == "tagging":
        # The names that evaluate.py does not print: token accuracy and, for UD-POS, the rules it might have followed.
        details = metric.details(golds, predicted, language) | details
        del details[metric.name]
    trivial = _trivial(task, metric, golds, language)
    low = None if trivial is None else _low(metric, statistics)
    rows = sum(len(gold) for gold in golds) if task == "bucc2018" else len(golds)
    return LanguageScore(main, details, rows, trivial, low)


def _details(metric: Metric, sums: Floats) -> tuple[float, dict[str, float]]:
    """The main number and evaluate.py's, from summed statistics."""
    main = float(metric.value(sums))
    if metric.columns[0] == "true_positives":
        precision, recall = (100.0 * float(ratio(sums[0], sums[of], empty=0.0)) for of in (1, 2))
        return main, {"f1": main, "precision": precision, "recall": recall}
    if metric.columns[0] == "exact_match":
        return main, {"exact_match": 100.0 * float(sums[0] / sums[2]), "f1": 100.0 * float(sums[1] / sums[2])}
    return main, {"map@20" if metric.name == "map_at_20" else "accuracy": main}


def _trivial(task: str, metric: Metric, golds: Sequence[Any], language: str) -> float | None:
    if task == "bucc2018":
        return 0.0
    if task == "tatoeba":
        return 100.0 / len(golds)
    if metric.name == "accuracy":
        return 100.0 * max(Counter(golds).values()) / len(golds)
    if task in ("panx", "udpos"):
        counts = Counter(tag for tags in golds for tag in tags)
        most = max(counts, key=lambda tag: counts[tag], default="O")
        return metric.score(golds, [[most] * len(tags) for tags in golds], language)
    return None


def _low(metric: Metric, statistics: Floats) -> float:
    """The lower end of the percentile interval over resampled rows."""
    rows = len(statistics)
    weights = np.random.default_rng(0).multinomial(rows, np.full(rows, 1.0 / rows), size=_RESAMPLES)
    return float(np.quantile(metric.value(weights @ statistics), 0.025))


def _aligned(prediction_file: Path, label_file: Path, task: str) -> tuple[list[Any], list[Any]]:
    """Golds and predictions row by row, as evaluate.py pairs them: by line, or by id where the files have ids; an
    id without a prediction counts as wrong, a prediction of an unknown id is passed over."""
    labels, predictions = read_labels(label_file, task), read_predictions(prediction_file, task)
    if task == "bucc2018":
        queries = dict.fromkeys(pair[0] for pair in sorted(labels | predictions))
        by_query: list[dict[str, list[Any]]] = [{query: [] for query in queries} for _ in range(2)]
        for side, pairs in zip(by_query, (labels, predictions), strict=True):
            for pair in pairs:
                side[pair[0]].append(pair[1:])
        return list(by_query[0].values()), list(by_query[1].values())
    if task == "mewslix":
        return [[gold[0].strip()] for gold in labels.values()], [predictions.get(id) for id in labels]
    if task == "lareqa":
        return list(labels.values()), [predictions.get(id) for id in labels]
    if isinstance(predictions, dict):
        return [texts for _, texts in labels], [predictions.get(id) for id, _ in labels]
    if len(labels) != len(predictions):
        unit = "sentences" if task in ("panx", "udpos") else "lines"
        raise BadRow(str(prediction_file), f"{len(predictions)} {unit}; expected {len(labels)} as in {label_file}")
    if task in ("panx", "udpos"):
        line = 1
        for number, (gold, tags) in enumerate(zip(labels, predictions, strict=True), 1):
            if len(gold) != len(tags):
                message = f"sentence {number} has {len(tags)} tags; expected {len(gold)} as in {label_file}"
                raise BadRow(f"{prediction_file}:{line}", message)
            line += len(tags) + 1
    return labels, predictions
