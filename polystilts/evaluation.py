"""Predictor x task x language -> prediction bank. The same Predictor that serves, so what is measured is served."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polystilts.data.conditions import CLEAN, Condition, change
from polystilts.data.roles import resampling_units
from polystilts.data.scored import MINING, RANKING, Pool, ScoredRows, as_text, scored_rows
from polystilts.data.source import Source
from polystilts.errors import InvalidValue
from polystilts.formats import FormatSettings
from polystilts.formats.values import (
    ChoicePrediction,
    PairPrediction,
    Prediction,
    Rejected,
    Row,
    SentenceExample,
    SentencePair,
    SentencePrediction,
)
from polystilts.metrics import get_metric, plain_gold, plain_prediction
from polystilts.metrics.bank import BankRow, to_json_text
from polystilts.metrics.retrieval import ScoredPair, best_threshold, mine, ranked
from polystilts.metrics.trivial import trivial_predictions
from polystilts.runtime.predictor import CHUNK, Predictor
from polystilts.tasks import TaskSpec

__all__ = [
    "MINING",
    "RANKING",
    "Evaluation",
    "Pool",
    "ScoredRows",
    "bank_rows",
    "evaluate",
    "evaluate_trivial",
    "score_rows",
    "scored_rows",
    "settings_for",
]

Progress = Callable[[int], None]

#: Candidates a ranking holds.
RANKS = 20

#: The curve over layers needs the embeddings of all of them at once; in more bytes only the chosen layer is kept.
CURVE_BYTES = 2_000_000_000


@dataclass
class Evaluation:
    """Scored rows of one cell.

    Attributes:
        rows: one an example, all under one condition.
        layer_curve: by layer, 0 to 100, mean over languages: the accuracy of aligned pairs, or the F1 of mined pairs on
            choice rows, where the paper chose BUCC's layer.
        about: for the bank's metadata: the condition, what noise did and which share has a changed form, by language.
    """

    rows: list[BankRow] = field(default_factory=list)
    layer_curve: dict[int, float] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def settings_for(spec: TaskSpec, *, layers: Sequence[int] = (), max_length: int = 0) -> FormatSettings:
    """The format's settings that a task asks for.

    Args:
        layers: hidden states to pool (sentence, mean).
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
        pooling=spec.pooling,
        layers=tuple(layers),
    )


def score_rows(predictor: Predictor, spec: TaskSpec, rows: Sequence[Row], language: str) -> float:
    """Main metric (0..100) on labelled rows of one language: what early stopping reads.

    Pairs of texts are scored by retrieval among these rows; a candidate with the right text is the right one, because
    several questions share the sentence that answers them.
    """
    if spec.format == "sentence":
        pairs = [row for row in rows if isinstance(row, SentencePair)]
        found = next(iter(_retrieved(predictor, pairs, None).values()))
        text = {pair.id: pair.candidate for pair in pairs}
        predictions: list[Any] = [
            pair.id if text[id] == pair.candidate else id for pair, id in zip(pairs, found, strict=True)
        ]
    else:
        predictions = [plain_prediction(p, null_odds=spec.unanswerable) for p in predictor.predict(rows)]
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
    rows: ScoredRows | None = None,
    condition: Condition = CLEAN,
) -> Evaluation:
    """Scores one model on every language, one bank row an example (of collections: a query).

    Args:
        recipe: what the encoder went through before the target; 'baseline' = nothing.
        limit: see `scored_rows`.
        layer: the hidden state that decides retrieval (pooling 'mean'); the predictor may pool others for the curve.
        progress: called with the number of rows done since the last call.
        rows: what `scored_rows` gave for the same arguments, where it was asked before: as they are, unchanged.
        condition: under which it answers. Rows without a changed form are left out. Units of resampling are those of
            the unchanged rows, so that banks of several conditions are paired.

    Raises:
        InvalidValue: a condition that the rows cannot have.
    """
    rows = rows or scored_rows(source, spec, languages, limit=limit)
    changed = change(rows, spec, condition)
    result = Evaluation(about={"condition": condition.name, **changed.about()})
    curves: list[dict[int, float]] = []
    about: dict[str, Any] = {"recipe": recipe, "seed": seed, "condition": condition.name}
    for language, found in changed.rows.rows.items():
        examples = [row for _, row in found]
        if spec.format == "sentence":
            pairs = [row for row in examples if isinstance(row, SentencePair)]
            by_layer = _retrieved(predictor, pairs, layer, progress)
            curves.append({at: _share_correct(pairs, ids) for at, ids in by_layer.items() if at is not None})
            predictions: list[Any] = by_layer[layer]
            probabilities = None
        else:
            answers = predictor.predict(examples, progress=progress)
            predictions = [plain_prediction(answer, null_odds=spec.unanswerable) for answer in answers]
            probabilities = [_probability(answer) for answer in answers]
        result.rows += bank_rows(
            spec,
            examples,
            [role for role, _ in found],
            predictions,
            language,
            **about,
            units=resampling_units(spec, [row for _, row in rows.rows[language]]),
            probabilities=probabilities,
        )
    for name, group in changed.rows.pools.items():
        if spec.metric == MINING:
            predictions, curve = _mined(predictor, group, rows.pools[name], layer, progress)
            curves.append(curve)
        else:
            predictions = _rankings(predictor, group, layer, progress)
        result.rows += _collection_rows(spec, group, predictions, **about)
    if curves:
        kept = set.intersection(*map(set, curves))
        result.layer_curve = {at: float(np.mean([curve[at] for curve in curves])) for at in curves[0] if at in kept}
    return result


def evaluate_trivial(
    source: Source,
    spec: TaskSpec,
    training: Sequence[Row],
    languages: Sequence[str],
    *,
    limit: int = 0,
    rows: ScoredRows | None = None,
) -> list[BankRow]:
    """The bank of the trivial baseline: majority class, most frequent tag, best constant span, chance rank.

    Of collections: a uniform guess among the candidates of the pool.
    """
    rows = rows or scored_rows(source, spec, languages, limit=limit)
    bank: list[BankRow] = []
    for language, found in rows.rows.items():
        examples = [row for _, row in found]
        predictions = trivial_predictions(training, examples)
        bank += bank_rows(spec, examples, [r for r, _ in found], predictions, language, recipe="trivial", seed=0)
    for group in rows.pools.values():
        guesses = [[{"any_of": len(pool.candidates)} for _ in pool.queries] for pool in group]
        bank += _collection_rows(spec, group, guesses, recipe="trivial", seed=0)
    return bank


def bank_rows(
    spec: TaskSpec,
    rows: Sequence[Row],
    roles: Sequence[str],
    predictions: Sequence[Any],
    language: str,
    *,
    recipe: str,
    seed: int,
    golds: Sequence[Any] | None = None,
    condition: str = CLEAN.name,
    units: Mapping[str, str] | None = None,
    probabilities: Sequence[float | None] | None = None,
) -> list[BankRow]:
    """Plain predictions of one language as bank rows.

    Args:
        golds: plain golds, where the rows do not hold them (collections).
        condition: name of the condition of the rows.
        units: id -> unit of resampling; None = as `resampling_units` says of these rows.
        probabilities: of the answers; None = the format gives none.
    """
    golds = [plain_gold(row) for row in rows] if golds is None else golds
    scores = get_metric(spec.metric).row_score(golds, predictions, language)
    units = resampling_units(spec, rows) if units is None else units
    probabilities = [None] * len(rows) if probabilities is None else probabilities
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
            condition=condition,
            probability=probability,
        )
        for row, role, gold, prediction, score, probability in zip(
            rows, roles, golds, predictions, scores, probabilities, strict=True
        )
    ]


def _probability(answer: Prediction | Rejected) -> float | None:
    """The model's own probability of its answer; None where the format gives none, and of a refused row."""
    if isinstance(answer, PairPrediction | ChoicePrediction):
        return float(answer.probabilities[answer.label])  # type: ignore[index]
    return None


# Pairs: the n-th query belongs to the n-th candidate.


def _retrieved(
    predictor: Predictor, pairs: Sequence[SentencePair], layer: int | None, progress: Progress | None = None
) -> dict[int | None, list[str]]:
    """For every pooled layer (None: the pooler) the id of the candidate found for each query among all of them.

    Of Tatoeba English is the query side and ties go to the lower index (the `direct` protocol of the paper).
    """
    queries = [SentenceExample(p.id, "en", p.query, query=True) for p in pairs]
    candidates = [SentenceExample(p.id, p.language, p.candidate) for p in pairs]
    layers = _layers_that_fit(predictor, [*queries, *candidates], layer)
    first, second = (_embedded(predictor, texts, layers) for texts in (queries, candidates))
    if progress:
        progress(len(pairs))
    found = {name: ranked(first[:, n], second[:, n], k=1)[:, 0].tolist() for n, name in enumerate(layers)}
    return {name: [pairs[number].id for number in numbers] for name, numbers in found.items()}


def _share_correct(rows: Sequence[Row], ids: Sequence[str]) -> float:
    return 100 * float(np.mean([row.id == found for row, found in zip(rows, ids, strict=True)]))


# Collections: any number of candidates may be relevant to a query, or none.


def _rankings(
    predictor: Predictor, pools: Sequence[Pool], layer: int | None, progress: Progress | None
) -> list[list[list[str]]]:
    """For every query of every pool the ids of its nearest candidates, best first."""
    found = []
    for pool in pools:
        sides = [as_text(query) for _, query in pool.queries], [as_text(candidate) for candidate in pool.candidates]
        queries, candidates = (_embedded(predictor, texts, [layer], progress)[:, 0] for texts in sides)
        names = pool.names
        found.append([[names[n] for n in row] for row in np.asarray(ranked(queries, candidates, k=RANKS)).tolist()])
    return found


def _mined(
    predictor: Predictor, pools: Sequence[Pool], clean: Sequence[Pool], layer: int | None, progress: Progress | None
) -> tuple[list[list[list[str]]], dict[int, float]]:
    """For every query the candidate mined for it, if its margin reaches the threshold; and the curve over layers.

    The threshold is the one with the best F1 on the pairs of choice queries (BUCC's dev in XTREME), so the score of
    those is optimistic, and so is the curve. Where a language has one split, its choice half gives the threshold for
    the other half. Under a condition the threshold is chosen under it too.

    Args:
        clean: the pools as they are: noise must not make a sentence that occurs twice one of its own.
    """
    mined: list[list[ScoredPair]] = []
    threshold, curve = float("inf"), dict[int, float]()
    for pool, original in zip(pools, clean, strict=True):
        chosen = {number for number, (role, _) in enumerate(pool.queries) if role == "choice"}
        gold = {(n, c) for n, relevant in enumerate(pool.relevant) if n in chosen for c in relevant}
        sides = [as_text(query) for _, query in pool.queries], [as_text(candidate) for candidate in pool.candidates]
        sentences = [query.text for _, query in original.queries], [item.text for item in original.candidates]
        # No other layer is looked at where nothing may be chosen.
        layers = _layers_that_fit(predictor, [*sides[0], *sides[1]], layer) if chosen else [layer]
        first, second = (_embedded(predictor, texts, layers, progress) for texts in sides)
        for n, at in enumerate(layers):
            pairs = mine(first[:, n], second[:, n], *sentences)
            own = [pair for pair in pairs if pair.source in chosen]
            best = best_threshold(own, gold)
            if chosen and at is not None:
                kept_pairs = [(pair.source, pair.target) for pair in own if pair.score >= best]
                curve[at] = 200 * len(gold.intersection(kept_pairs)) / max(1, len(kept_pairs) + len(gold))
            if at == layer:
                mined.append(pairs)
                threshold = best if chosen else threshold
    found = []
    for pool, pairs in zip(pools, mined, strict=True):
        names, kept = pool.names, defaultdict[int, list[str]](list)
        for pair in pairs:
            if pair.score >= threshold:
                kept[pair.source].append(names[pair.target])
        found.append([kept[number] for number in range(len(pool.queries))])
    return found, curve


def _collection_rows(
    spec: TaskSpec,
    pools: Sequence[Pool],
    predictions: Sequence[Sequence[Any]],
    *,
    recipe: str,
    seed: int,
    condition: str = CLEAN.name,
) -> list[BankRow]:
    """One bank row a query; gold and prediction are lists of candidates' ids.

    Where rankings are scored a query without a relevant candidate is left out: nothing can be found for it.
    """
    bank = []
    for pool, found in zip(pools, predictions, strict=True):
        names = pool.names
        by_language: defaultdict[str, list[Any]] = defaultdict(list)
        for (role, query), relevant, prediction in zip(pool.queries, pool.relevant, found, strict=True):
            if relevant or spec.metric == MINING:
                by_language[query.language].append((query, role, prediction, [names[n] for n in relevant]))
        for language, rows in by_language.items():
            queries, roles, answers, golds = (list(column) for column in zip(*rows, strict=True))
            bank += bank_rows(
                spec,
                queries,
                roles,
                answers,
                language,
                recipe=recipe,
                seed=seed,
                golds=golds,
                condition=condition,
            )
    return bank


# Texts to vectors.


def _position(predictor: Predictor, layer: int | None) -> int:
    """Where a layer's vector stands among those of one text.

    Raises:
        InvalidValue: a layer that the predictor does not pool.
    """
    settings = predictor.format.settings
    if settings.pooling == "pooler":
        return 0
    if layer not in settings.layers:
        raise InvalidValue(f"layer {layer} is not pooled; pooled: {sorted(settings.layers)}", param="layer")
    return settings.layers.index(layer)


def _layers_that_fit(predictor: Predictor, texts: Sequence[SentenceExample], layer: int | None) -> list[int | None]:
    """All pooled layers (None: the pooler); only `layer`, which decides, where the vectors of all are too many."""
    _position(predictor, layer)
    layers: list[int | None] = [*predictor.format.settings.layers] or [None]
    fits = len(layers) == 1 or len(texts) * _vectors(predictor, texts[:1]).nbytes <= CURVE_BYTES
    return layers if fits else [layer]


def _embedded(
    predictor: Predictor,
    texts: Sequence[SentenceExample],
    layers: Sequence[int | None],
    progress: Progress | None = None,
) -> np.ndarray:
    """float32 [texts, layers, hidden], each vector of length 1; the other layers go with their chunk."""
    kept = [_position(predictor, layer) for layer in layers]
    stacked = np.empty((0, 0, 0), dtype=np.float32)
    for start in range(0, len(texts), CHUNK):
        vectors = _vectors(predictor, texts[start : start + CHUNK])[:, kept]
        if not start:
            stacked = np.empty((len(texts), *vectors.shape[1:]), dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        stacked[start : start + len(vectors)] = vectors / np.maximum(lengths, 1e-12)
        if progress:
            progress(len(vectors))
    return stacked


def _vectors(predictor: Predictor, texts: Sequence[SentenceExample]) -> np.ndarray:
    """float32 [texts, layers, hidden]."""
    vectors = []
    for prediction in predictor.predict(texts):
        if isinstance(prediction, Rejected):
            raise prediction.error
        if not isinstance(prediction, SentencePrediction):
            raise TypeError("retrieval needs embeddings. This is a bug.")
        vectors.append(prediction.embeddings)
    return np.stack(vectors)
