"""Predictor x task x language -> prediction bank. The same Predictor that serves, so what is measured is served."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from polystilts.data.roles import Role, labelled_rows, pool_rows, resampling_units
from polystilts.data.source import Source
from polystilts.errors import InvalidValue, MissingData
from polystilts.formats import FormatSettings
from polystilts.formats.values import (
    Rejected,
    RetrievalItem,
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

Progress = Callable[[int], None]

#: Metrics of collections, whose queries and candidates are not aligned: pairs mined by a threshold, and rankings.
MINING, RANKING = "mining_f1", "map_at_20"

#: Candidates a ranking holds.
RANKS = 20

#: The curve over layers needs the embeddings of all of them at once; in more bytes only the chosen layer is kept.
CURVE_BYTES = 2_000_000_000


@dataclass
class Evaluation:
    """Scored rows of one cell, and a curve over layers (0..100, mean over languages).

    The curve is the accuracy of aligned pairs, or the F1 of mined pairs on choice rows, where the paper chose BUCC's
    layer.
    """

    rows: list[BankRow] = field(default_factory=list)
    layer_curve: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pool:
    """Queries with their roles, and the candidates among which each of them looks."""

    queries: list[tuple[Role, RetrievalItem]]
    candidates: list[RetrievalItem]

    @property
    def relevant(self) -> list[list[int]]:
        """For every query the numbers of the candidates that share a key with it."""
        by_key: defaultdict[str, list[int]] = defaultdict(list)
        for number, candidate in enumerate(self.candidates):
            for key in candidate.keys:
                by_key[key].append(number)
        return [sorted({n for key in query.keys for n in by_key[key]}) for _, query in self.queries]

    @property
    def names(self) -> list[str]:
        """Ids of the candidates; where the languages of a pool repeat ids, LANGUAGE/ID.

        Raises:
            InvalidValue: an id that occurs twice in a language.
        """
        for names in (
            [item.id for item in self.candidates],
            [f"{item.language}/{item.id}" for item in self.candidates],
        ):
            if len(set(names)) == len(names):
                return names
        seen: set[str] = set()
        repeated = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidValue(f"two candidates have the id {repeated!r}", param="id", given=repeated)


@dataclass(frozen=True)
class ScoredRows:
    """What a target is scored on, read once for every recipe, its trivial baseline and its export.

    Attributes:
        rows: labelled rows with their roles by language; empty for collections.
        pools: of a collection, by language (mining) or under '' for all languages together (rankings).
        unlabelled: languages that were asked for and are not among these rows, because all their labels are hidden.
    """

    rows: Mapping[str, list[tuple[Role, Row]]]
    pools: Mapping[str, list[Pool]]
    unlabelled: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Rows, or queries and candidates: what progress counts."""
        pools = [pool for group in self.pools.values() for pool in group]
        return sum(map(len, self.rows.values())) + sum(len(p.queries) + len(p.candidates) for p in pools)

    def only(self, role: Role) -> ScoredRows:
        """The rows of one role, where a row is answered by itself. Retrieval stays whole, as every query is among the
        neighbours of another: there the other role's rows are dropped from the result."""
        if self.pools or any(isinstance(row, SentencePair) for own in self.rows.values() for _, row in own):
            return self
        rows = {language: [row for row in own if row[0] == role] for language, own in self.rows.items()}
        return ScoredRows(rows, {}, self.unlabelled)

    def examples(self, count: int) -> list[Any]:
        """Of every language `count` choice rows, as a predictor takes them; of collections queries and candidates."""
        found: list[Any] = []
        for rows in self.rows.values():
            found += [row for role, row in rows if role == "choice"][:count]
        for pool in (pool for group in self.pools.values() for pool in group):
            by_language: defaultdict[tuple[str, bool], list[RetrievalItem]] = defaultdict(list)
            for item in (*(query for role, query in pool.queries if role == "choice"), *pool.candidates):
                by_language[item.language, item.query].append(item)
            found += [item for items in by_language.values() for item in items[:count]]
        return [
            _text(row)
            if isinstance(row, RetrievalItem)
            else SentenceExample(row.id, row.language, row.candidate)
            if isinstance(row, SentencePair)
            else row
            for row in found
        ]


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


def scored_rows(
    source: Source, spec: TaskSpec, languages: Sequence[str], *, limit: int = 0, hidden: bool = False
) -> ScoredRows:
    """Reads what a target is scored on; `ScoredRows.unlabelled` names the languages that cannot be.

    Args:
        limit: rows of each role a language at most, of rankings queries: fewer candidates would make every query
            easier; 0 = all. Mining has no limit: its margins come from the neighbours on both sides.
        hidden: see `labelled_rows`.

    Raises:
        MissingData: no rows in one of the languages, or hidden labels in all of them.
    """
    most = None if spec.metric == MINING else limit or None
    found = {code: labelled_rows(source, spec, code, limit=most, hidden=hidden) for code in languages}
    rows = {language: own for language, own in found.items() if own}
    unlabelled = tuple(language for language in found if language not in rows)
    if unlabelled and not rows:
        message = f"{source.name} hides the labels of {spec.name} in every language: {', '.join(unlabelled)}"
        raise MissingData(message, param="languages", given=spec.name)
    if spec.metric not in (MINING, RANKING):
        return ScoredRows(rows, {}, unlabelled)
    if spec.metric == MINING:
        return ScoredRows({}, {language: _pools(own) for language, own in rows.items()}, unlabelled)
    shared: list[tuple[Role, Row]] = [("both", row) for row in pool_rows(source, spec)]
    return ScoredRows({}, {"": _pools([*(row for own in rows.values() for row in own), *shared])}, unlabelled)


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
) -> Evaluation:
    """Scores one model on every language, one bank row an example (of collections: a query).

    Args:
        recipe: what the encoder went through before the target; 'baseline' = nothing.
        limit: see `scored_rows`.
        layer: the hidden state that decides retrieval (pooling 'mean'); the predictor may pool others for the curve.
        progress: called with the number of rows done since the last call.
        rows: what `scored_rows` gave for the same arguments, where it was asked before.
    """
    rows = rows or scored_rows(source, spec, languages, limit=limit)
    result = Evaluation()
    curves: list[dict[int, float]] = []
    for language, found in rows.rows.items():
        examples = [row for _, row in found]
        if spec.format == "sentence":
            pairs = [row for row in examples if isinstance(row, SentencePair)]
            by_layer = _retrieved(predictor, pairs, layer, progress)
            curves.append({at: _share_correct(pairs, ids) for at, ids in by_layer.items() if at is not None})
            predictions: list[Any] = by_layer[layer]
        else:
            predictions = [
                plain_prediction(p, null_odds=spec.unanswerable) for p in predictor.predict(examples, progress=progress)
            ]
        roles = [role for role, _ in found]
        result.rows += bank_rows(spec, examples, roles, predictions, language, recipe=recipe, seed=seed)
    for group in rows.pools.values():
        if spec.metric == MINING:
            predictions, curve = _mined(predictor, group, layer, progress)
            curves.append(curve)
        else:
            predictions = _rankings(predictor, group, layer, progress)
        result.rows += _collection_rows(spec, group, predictions, recipe, seed)
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
        bank += _collection_rows(spec, group, guesses, "trivial", 0)
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
) -> list[BankRow]:
    """Plain predictions of one language as bank rows.

    Args:
        golds: plain golds, where the rows do not hold them (collections).
    """
    golds = [plain_gold(row) for row in rows] if golds is None else golds
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


def _pools(rows: Sequence[tuple[Role, Row]]) -> list[Pool]:
    """Each role's queries with its candidates; one pool where every candidate stands in that of both roles."""
    items = [(role, row) for role, row in rows if isinstance(row, RetrievalItem)]
    queries = [(role, item) for role, item in items if item.query]
    candidates = [(role, item) for role, item in items if not item.query]
    if all(role == "both" for role, _ in candidates):
        return [Pool(queries, [item for _, item in candidates])]
    roles = [role for role in ("choice", "report") if any(found == role for found, _ in queries)]
    return [
        Pool([q for q in queries if q[0] == role], [item for found, item in candidates if found in (role, "both")])
        for role in roles
    ]


def _rankings(
    predictor: Predictor, pools: Sequence[Pool], layer: int | None, progress: Progress | None
) -> list[list[list[str]]]:
    """For every query of every pool the ids of its nearest candidates, best first."""
    found = []
    for pool in pools:
        sides = [_text(query) for _, query in pool.queries], [_text(candidate) for candidate in pool.candidates]
        queries, candidates = (_embedded(predictor, texts, [layer], progress)[:, 0] for texts in sides)
        names = pool.names
        found.append([[names[n] for n in row] for row in np.asarray(ranked(queries, candidates, k=RANKS)).tolist()])
    return found


def _mined(
    predictor: Predictor, pools: Sequence[Pool], layer: int | None, progress: Progress | None
) -> tuple[list[list[list[str]]], dict[int, float]]:
    """For every query the candidate mined for it, if its margin reaches the threshold; and the curve over layers.

    The threshold is the one with the best F1 on the pairs of choice queries (BUCC's dev in XTREME), so the score of
    those is optimistic, and so is the curve. Where a language has one split, its choice half gives the threshold for
    the other half.
    """
    mined: list[list[ScoredPair]] = []
    threshold, curve = float("inf"), dict[int, float]()
    for pool in pools:
        chosen = {number for number, (role, _) in enumerate(pool.queries) if role == "choice"}
        gold = {(n, c) for n, relevant in enumerate(pool.relevant) if n in chosen for c in relevant}
        sides = [_text(query) for _, query in pool.queries], [_text(candidate) for candidate in pool.candidates]
        sentences = [text.text for text in sides[0]], [text.text for text in sides[1]]
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
    spec: TaskSpec, pools: Sequence[Pool], predictions: Sequence[Sequence[Any]], recipe: str, seed: int
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
            bank += bank_rows(spec, queries, roles, answers, language, recipe=recipe, seed=seed, golds=golds)
    return bank


# Texts to vectors.


def _text(item: RetrievalItem) -> SentenceExample:
    return SentenceExample(item.id, item.language, item.text, query=item.query)


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
