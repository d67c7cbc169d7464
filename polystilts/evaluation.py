"""Predictor x task x language -> prediction bank. The same Predictor that serves, so what is measured is served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polystilts.data.roles import evaluation_rows, resampling_units
from polystilts.data.source import Source
from polystilts.errors import InvalidValue
from polystilts.formats import FormatSettings
from polystilts.formats.values import Rejected, Row, SentenceExample, SentencePair, SentencePrediction
from polystilts.metrics import get_metric, plain_gold, plain_prediction
from polystilts.metrics.bank import BankRow, to_json_text
from polystilts.metrics.trivial import trivial_predictions
from polystilts.runtime.predictor import Predictor
from polystilts.tasks import TaskSpec

Progress = Callable[[int], None]


@dataclass
class Evaluation:
    """Scored rows of one cell, and for retrieval the accuracy at every layer (0..100, mean over languages)."""

    rows: list[BankRow] = field(default_factory=list)
    layer_curve: dict[int, float] = field(default_factory=dict)


def settings_for(spec: TaskSpec, *, layers: Sequence[int] = (), max_length: int = 0) -> FormatSettings:
    """The format's settings that a task asks for.

    Args:
        layers: hidden states to pool (sentence).
        max_length: a shorter row length than the task's, for encoders with few positions; 0 = the task's own.
    """
    return FormatSettings(
        format=spec.format,
        labels=spec.labels,
        max_length=min(spec.max_length, max_length or spec.max_length),
        max_question_length=spec.max_question_length,
        doc_stride=spec.doc_stride,
        max_answer_length=spec.max_answer_length,
        question_texts=spec.question_texts,
        layers=tuple(layers),
    )


def score_rows(predictor: Predictor, spec: TaskSpec, rows: Sequence[Row], language: str) -> float:
    """Main metric (0..100) on labelled rows of one language: what early stopping reads."""
    predictions = [plain_prediction(p) for p in predictor.predict(rows)]
    return get_metric(spec.metric).score([plain_gold(row) for row in rows], predictions, language)


def evaluate(
    predictor: Predictor,
    source: Source,
    spec: TaskSpec,
    languages: Sequence[str],
    *,
    recipe: str,
    seed: int,
    limit: int = 0,
    layer: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Scores one model on every language, one bank row an example.

    Args:
        recipe: what the encoder went through before the target; 'baseline' = nothing.
        limit: rows of each role a language at most; 0 = all.
        layer: the hidden state that decides retrieval; the predictor may pool others for the curve.
        progress: called with the number of rows done since the last call.
    """
    result = Evaluation()
    curves: list[dict[int, float]] = []
    for language in languages:
        found = evaluation_rows(source, spec, language, limit=limit or None)
        rows = [row for _, row in found]
        if spec.format == "sentence":
            by_layer = _retrieved(predictor, rows, progress)
            if layer not in by_layer:
                raise InvalidValue(f"layer {layer} is not pooled; pooled: {sorted(by_layer)}", param="layer")
            curves.append({at: _share_correct(rows, ids) for at, ids in by_layer.items()})
            predictions: list[Any] = by_layer[layer]
        else:
            predictions = [plain_prediction(p) for p in predictor.predict(rows, progress=progress)]
        roles = [role for role, _ in found]
        result.rows += bank_rows(spec, rows, roles, predictions, language, recipe=recipe, seed=seed)
    if curves:
        result.layer_curve = {at: float(np.mean([curve[at] for curve in curves])) for at in curves[0]}
    return result


def evaluate_trivial(
    source: Source, spec: TaskSpec, training: Sequence[Row], languages: Sequence[str], *, limit: int = 0
) -> list[BankRow]:
    """The bank of the trivial baseline: majority class, most frequent tag, best constant span, chance rank."""
    rows: list[BankRow] = []
    for language in languages:
        found = evaluation_rows(source, spec, language, limit=limit or None)
        examples = [row for _, row in found]
        predictions = trivial_predictions(training, examples)
        roles = [role for role, _ in found]
        rows += bank_rows(spec, examples, roles, predictions, language, recipe="trivial", seed=0)
    return rows


def bank_rows(
    spec: TaskSpec,
    rows: Sequence[Row],
    roles: Sequence[str],
    predictions: Sequence[Any],
    language: str,
    *,
    recipe: str,
    seed: int,
) -> list[BankRow]:
    """Plain predictions of one language as bank rows."""
    golds = [plain_gold(row) for row in rows]
    scores = get_metric(spec.metric).row_score(golds, predictions, language)
    units = resampling_units(spec, rows)
    return [
        BankRow(
            task=spec.name,
            recipe=recipe,
            seed=seed,
            language=language,
            id=row.id,
            unit=units[row.id],
            role=role,
            gold=to_json_text(gold),
            prediction=to_json_text(prediction),
            score=float(score),
        )
        for row, role, gold, prediction, score in zip(rows, roles, golds, predictions, scores, strict=True)
    ]


def _retrieved(predictor: Predictor, rows: Sequence[Row], progress: Progress | None) -> dict[int, list[str]]:
    """For every pooled layer the id found for each English query among the sentences of the language.

    English is the query side and ties go to the lower index (the `direct` protocol of the paper).
    """
    pairs = [row for row in rows if isinstance(row, SentencePair)]
    queries = _embedded(predictor, [SentenceExample(p.id, "en", p.english) for p in pairs])
    candidates = _embedded(predictor, [SentenceExample(p.id, p.language, p.sentence) for p in pairs])
    if progress:
        progress(len(pairs))
    found = {}
    for number, layer in enumerate(predictor.format.settings.layers):
        nearest = (queries[:, number] @ candidates[:, number].T).argmax(axis=1)
        found[layer] = [pairs[i].id for i in nearest]
    return found


def _embedded(predictor: Predictor, sentences: Sequence[SentenceExample]) -> np.ndarray:
    """float32 [sentences, layers, hidden], each vector of length 1."""
    vectors = []
    for prediction in predictor.predict(sentences):
        if isinstance(prediction, Rejected):
            raise prediction.error
        if not isinstance(prediction, SentencePrediction):
            raise TypeError("retrieval needs embeddings. This is a bug.")
        vectors.append(prediction.embeddings)
    stacked = np.stack(vectors)
    normed: np.ndarray = stacked / np.maximum(np.linalg.norm(stacked, axis=-1, keepdims=True), 1e-12)
    return normed


def _share_correct(rows: Sequence[Row], ids: Sequence[str]) -> float:
    return 100 * float(np.mean([row.id == found for row, found in zip(rows, ids, strict=True)]))
