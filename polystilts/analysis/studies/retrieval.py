"""How much of a gain in retrieval is alignment of languages?

A gain at one fixed layer mixes several things. They are peeled off one after the other; each *stage* scores both
models:

    fixed       the layer that the protocol names
    best        each model's own best layer
    centred     and the mean of each language removed
    whitened    and all directions of equal variance (one transform for all languages, so that it aligns nothing)

The gain at 'whitened' is the rest: what neither the place of the representation, nor a common direction, nor the scale
of directions explains. The differences between neighbouring stages are the parts, and all four add up to the gain at
the fixed layer. Layers are chosen, means and transforms fitted, on choice rows; report rows are scored. All is numpy
arrays: vectors of mean-pooled layers, [layers, n, dimensions], whatever made them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polystilts.analysis import BASELINE
from polystilts.analysis.intervals import LanguageRows
from polystilts.analysis.recipes import Scores, holm
from polystilts.analysis.studies.common import (
    CEILING,
    LIMITS,
    Arm,
    Banks,
    Compared,
    Effect,
    Table,
    Weights,
    chance,
    columns_of,
    in_words,
    mean_of,
    minus,
    too_few_seeds,
)
from polystilts.errors import InvalidValue
from polystilts.metrics import get_metric
from polystilts.metrics.core import Floats
from polystilts.metrics.retrieval import Vectors, ranked

#: In the order in which they are peeled off.
STAGES = ("fixed", "best", "centred", "whitened")


class Part(NamedTuple):
    """A part of the gain: the difference of two stages ('' = nothing), and what it is in words."""

    stage: str
    following: str
    said: str


#: What the gain at the fixed layer is made of.
PARTS: Mapping[str, Part] = {
    "layer": Part("fixed", "best", "what reading each model at its own best layer takes away (layer)"),
    "language means": Part("best", "centred", "what removing each language's mean takes away (language means)"),
    "whitening": Part("centred", "whitened", "what giving all directions equal variance takes away (whitening)"),
    "rest": Part("whitened", "", "what is left after these (rest)"),
}

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Embedded:
    """The sentences of one language pair under one model.

    Attributes:
        ids: of the queries [n]; units of resampling.
        queries: [layers, n, dimensions], English in Tatoeba.
        candidates: [layers, m, dimensions], the pool; it stays whole whichever queries are scored.
        gold: index of each query's candidate [n].
        choice: which queries are choice rows [n]; the others are report rows.
    """

    ids: tuple[str, ...]
    queries: Vectors
    candidates: Vectors
    gold: NDArray[np.int64]
    choice: Mask

    def __post_init__(self) -> None:
        layers, rows, _ = self.queries.shape
        if self.candidates.shape[0] != layers or not rows == len(self.ids) == len(self.gold) == len(self.choice):
            message = (
                f"{layers} and {self.candidates.shape[0]} layers, {rows} queries, {len(self.ids)} ids, "
                f"{len(self.gold)} golds and {len(self.choice)} marks; needs as many each"
            )
            raise InvalidValue(message, param="queries", given=rows)
        if not self.choice.any() or self.choice.all():
            raise InvalidValue("needs choice rows and report rows", param="choice", given=int(self.choice.sum()))

    def centred(self) -> Embedded:
        """Each side's mean over its choice rows removed, layer by layer."""
        own = self.candidates[:, self.gold[self.choice]].mean(axis=1, keepdims=True)
        return replace(
            self,
            queries=self.queries - self.queries[:, self.choice].mean(axis=1, keepdims=True),
            candidates=self.candidates - own,
        )


@dataclass(frozen=True)
class Stage:
    """What one stage found of one model.

    Attributes:
        layers: the layer of each language that was scored.
        correct: by language, of the report rows [n]: 1 where the nearest candidate is the right one.
    """

    layers: Mapping[str, int]
    correct: Mapping[str, LanguageRows]


@dataclass(frozen=True)
class Curve:
    """Accuracy on report rows by layer [layers], 0 to 100, of one processing."""

    processing: str
    language: str
    accuracy: tuple[float, ...]


def whitening(parts: Sequence[Vectors]) -> Floats:
    """A symmetric transform [dimensions, dimensions] after which the rows of `parts` have equal variances everywhere.

    The covariance is shrunk towards equal variances by as much as its rows are too few for it (OAS; Chen et al., IEEE
    Transactions on Signal Processing 58, 2010): with fewer rows than dimensions it could not be inverted at all.

    Args:
        parts: rows [n, dimensions], each part with a mean of 0.
    """
    rows = np.concatenate(parts).astype(np.float64)
    number, width = rows.shape
    covariance = rows.T @ rows / number
    trace, square = float(np.trace(covariance)), float(np.square(covariance).sum())
    top = (1.0 - 2.0 / width) * square + trace**2
    bottom = (number + 1.0 - 2.0 / width) * (square - trace**2 / width)
    share = 1.0 if bottom <= 0 else min(1.0, top / bottom)
    values, vectors = np.linalg.eigh((1.0 - share) * covariance + share * trace / width * np.eye(width))
    return (vectors / np.sqrt(np.maximum(values, 1e-12 * max(trace, 1e-300)))) @ vectors.T


def whitened(languages: Mapping[str, Embedded]) -> dict[str, Embedded]:
    """Languages (centred already) under one transform a layer, fitted on the choice rows of all of them.

    One transform for all: a transform of each language by itself would turn its axes to those of the others, which is
    alignment, the very thing that is to be left.
    """
    layers = next(iter(languages.values())).queries.shape[0]
    transforms = np.stack(
        [
            whitening(
                [
                    side
                    for part in languages.values()
                    for side in (part.queries[layer, part.choice], part.candidates[layer, part.gold[part.choice]])
                ]
            )
            for layer in range(layers)
        ]
    ).astype(np.float32)
    return {
        language: replace(
            part, queries=_applied(part.queries, transforms), candidates=_applied(part.candidates, transforms)
        )
        for language, part in languages.items()
    }


def _applied(vectors: Vectors, transforms: Vectors) -> Vectors:
    return np.stack([rows @ transform for rows, transform in zip(vectors, transforms, strict=True)])


def correct_by_layer(part: Embedded) -> Mask:
    """Whether each query's nearest candidate by cosine is the right one [layers, n]; ties go to the lower index."""
    return np.stack(
        [
            ranked(queries, candidates, 1)[:, 0] == part.gold
            for queries, candidates in zip(part.queries, part.candidates, strict=True)
        ]
    )


def stages(languages: Mapping[str, Embedded], *, fixed: int) -> tuple[dict[str, Stage], tuple[Curve, ...]]:
    """The stages of one model, and its curves over layers.

    A model has one best layer for all its languages, the one with the best mean on choice rows, in each processing.

    Args:
        languages: of one model.
        fixed: the layer that the protocol names.

    Raises:
        InvalidValue: no languages, or the model has no such layer.
    """
    if not languages or not 0 <= fixed < next(iter(languages.values())).queries.shape[0]:
        raise InvalidValue(f"layer {fixed} of {len(languages)} languages is not there", param="fixed", given=fixed)
    centred = {language: part.centred() for language, part in languages.items()}
    processed = {"as it is": languages, "centred": centred, "whitened": whitened(centred)}
    found: dict[str, Stage] = {}
    curves: list[Curve] = []
    for processing, parts in processed.items():
        correct = {language: correct_by_layer(part) for language, part in parts.items()}
        choice = np.mean([correct[name][:, part.choice].mean(axis=1) for name, part in parts.items()], axis=0)
        best = int(np.argmax(choice))
        if processing == "as it is":
            found["fixed"] = _stage(parts, correct, fixed)
        found["best" if processing == "as it is" else processing] = _stage(parts, correct, best)
        for language, part in parts.items():
            accuracy = 100.0 * correct[language][:, ~part.choice].mean(axis=1)
            curves.append(Curve(processing, language, tuple(accuracy.tolist())))
    return found, tuple(curves)


def _stage(parts: Mapping[str, Embedded], correct: Mapping[str, Mask], layer: int) -> Stage:
    rows = {}
    for language, part in sorted(parts.items()):
        hit = correct[language][layer, ~part.choice]
        ids = tuple(id_ for id_, choice in zip(part.ids, part.choice, strict=True) if not choice)
        rows[language] = _rows(ids, hit)
    return Stage(dict.fromkeys(rows, layer), rows)


def _rows(ids: tuple[str, ...], hit: Mask) -> LanguageRows:
    return LanguageRows(ids, ids, np.column_stack([hit, np.ones(len(hit))]).astype(np.float64))


@dataclass(frozen=True)
class Split(Compared):
    """The gain of one recipe in retrieval, and what it is made of; the parts add up to the gain.

    Attributes:
        gain: at the fixed layer, recipe minus baseline, mean over languages.
        parts: by name (`PARTS`).
        p_holm: of the parts, over recipes and parts.
        stages: the gain at each stage.
        layers: seed -> stage -> layer, of the recipe.
        limit: at the fixed layer and at the best; of the floor, by a guess among all candidates.
    """

    recipe: str
    gain: Effect
    parts: Mapping[str, Effect]
    p_holm: Mapping[str, float]
    stages: Mapping[str, Effect]
    layers: Mapping[int, Mapping[str, int]]


@dataclass(frozen=True)
class RetrievalSplit:
    """The split of every recipe, their mean, curves, tables, two sentences, and what could not be concluded."""

    answer: str
    mean: Mapping[str, Effect]
    splits: tuple[Split, ...]
    curves: Mapping[tuple[str, int], tuple[Curve, ...]]
    tables: tuple[Table, ...]
    not_concluded: tuple[str, ...]


def retrieval_split(
    models: Mapping[str, Mapping[int, Mapping[str, Embedded]]], *, target: str, fixed: int
) -> RetrievalSplit:
    """Splits the gain of every recipe.

    Args:
        models: recipe -> seed -> language -> vectors; 'baseline' among the recipes. Of a target without training the
            baseline has one seed.
        target: a retrieval task.
        fixed: the layer that its protocol names.

    Raises:
        InvalidValue: no baseline, no seed that a recipe shares with it, or as in `stages`.
    """
    found = {
        recipe: {seed: staged(languages, fixed=fixed) for seed, languages in seeds.items()}
        for recipe, seeds in models.items()
    }
    return split_of(found, target=target, fixed=fixed)


@dataclass(frozen=True)
class Staged:
    """All that a split needs of one model, without its vectors.

    Attributes:
        candidates: size of the pool, by language.
    """

    stages: Mapping[str, Stage]
    curves: tuple[Curve, ...]
    candidates: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """As JSON values: ids once for each language, answers as a text of 0 and 1."""
        ids = {language: list(rows.ids) for language, rows in self.stages[STAGES[0]].correct.items()}
        by_stage = {
            name: {
                "layers": dict(stage.layers),
                "correct": {
                    language: "".join(str(int(hit)) for hit in rows.statistics[:, 0])
                    for language, rows in stage.correct.items()
                },
            }
            for name, stage in self.stages.items()
        }
        curves = [asdict(curve) for curve in self.curves]
        return {"ids": ids, "stages": by_stage, "curves": curves, "candidates": dict(self.candidates)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Staged:
        """The other way round."""
        ids = {language: tuple(names) for language, names in value["ids"].items()}

        def rows(language: str, hits: str) -> LanguageRows:
            return _rows(ids[language], np.array([hit == "1" for hit in hits]))

        by_stage = {
            name: Stage(
                stage["layers"], {language: rows(language, hits) for language, hits in stage["correct"].items()}
            )
            for name, stage in value["stages"].items()
        }
        curves = tuple(Curve(c["processing"], c["language"], tuple(c["accuracy"])) for c in value["curves"])
        return cls(by_stage, curves, value["candidates"])


def staged(languages: Mapping[str, Embedded], *, fixed: int) -> Staged:
    """`stages` of one model with the size of its pools."""
    found, curves = stages(languages, fixed=fixed)
    return Staged(found, curves, {language: part.candidates.shape[1] for language, part in languages.items()})


def split_of(found: Mapping[str, Mapping[int, Staged]], *, target: str, fixed: int) -> RetrievalSplit:
    """The split from what is known of every model: recipe -> seed -> `Staged`.

    Raises:
        InvalidValue: as `retrieval_split`.
    """
    if BASELINE not in found:
        raise InvalidValue("the split of a gain needs the baseline", param="models", given=", ".join(found))
    banks = Banks.of_measures()
    for recipe, seeds in found.items():
        for stage in STAGES:
            scores: Scores = {seed: one.stages[stage].correct for seed, one in seeds.items()}
            banks.measure(Arm("", recipe, target, stage), scores, get_metric("accuracy"))

    def at(recipe: str, stage: str) -> Weights:
        return {Arm("", recipe, target, stage): 1.0, Arm("", BASELINE, target, stage): -1.0}

    def part(recipe: str, name: str) -> Weights:
        stage, following, _ = PARTS[name]
        return minus(at(recipe, stage), at(recipe, following)) if following else at(recipe, stage)

    def limit(recipe: str) -> str:
        levels = [banks.level(arm) for stage in ("fixed", "best") for arm in at(recipe, stage)]
        if all(level.low <= guess for level in levels):
            return "floor"
        return "ceiling" if all(level.value >= CEILING for level in levels) else ""

    pools = next(iter(found[BASELINE].values())).candidates
    guess = float(np.mean([100.0 / size for size in pools.values()]))
    recipes = [recipe for recipe in found if recipe != BASELINE]
    parts = {recipe: {name: banks.effect(part(recipe, name)) for name in PARTS} for recipe in recipes}
    p = holm({f"{recipe} {name}": one.p for recipe, own in parts.items() for name, one in own.items()})
    splits = tuple(
        Split(
            recipe,
            banks.effect(at(recipe, "fixed")),
            parts[recipe],
            {name: p[f"{recipe} {name}"] for name in PARTS},
            {stage: banks.effect(at(recipe, stage)) for stage in STAGES},
            {
                seed: {stage: next(iter(one.layers.values())) for stage, one in model.stages.items()}
                for seed, model in found[recipe].items()
            },
            limit=limit(recipe),
        )
        for recipe in recipes
    )
    mean: dict[str, Effect] = {}
    counted = [split.recipe for split in splits if split.counts]
    if counted and banks.seeds([arm for recipe in counted for arm in at(recipe, "fixed")]):
        mean = {"gain": banks.effect(mean_of([at(recipe, "fixed") for recipe in counted]))}
        mean |= {name: banks.effect(mean_of([part(recipe, name) for recipe in counted])) for name in PARTS}
    curves = {(recipe, seed): one.curves for recipe, seeds in found.items() for seed, one in seeds.items()}
    left_open = [line for split in splits for line in too_few_seeds(split.gain)][:1]
    left_open += [f"anything from {split.recipe}, because {LIMITS[split.limit]}" for split in splits if split.limit]
    return RetrievalSplit(_answer(mean, fixed), mean, splits, curves, _tables(splits, mean, curves), tuple(left_open))


def _tables(
    splits: Sequence[Split], mean: Mapping[str, Effect], curves: Mapping[tuple[str, int], Sequence[Curve]]
) -> tuple[Table, ...]:
    return (
        Table(
            "split",
            "The gain in retrieval at the fixed layer and what it is made of, in points",
            tuple(
                [
                    {"recipe": "mean", "part": name} | columns_of(effect) | {"p_holm": None, "limit": ""}
                    for name, effect in mean.items()
                ]
                + [
                    {"recipe": split.recipe, "part": name}
                    | columns_of(effect)
                    | {"p_holm": split.p_holm.get(name), "limit": split.limit}
                    for split in splits
                    for name, effect in ({"gain": split.gain} | dict(split.parts)).items()
                ]
            ),
        ),
        Table(
            "stages",
            "The gain at each stage, in points, and the recipe's layer by seed",
            tuple(
                {"recipe": split.recipe, "stage": stage}
                | columns_of(effect)
                | {"layers": " ".join(f"{seed}:{layers[stage]}" for seed, layers in split.layers.items())}
                for split in splits
                for stage, effect in split.stages.items()
            ),
        ),
        Table(
            "curves",
            "Accuracy by layer, mean over languages, on report rows, in percent",
            tuple(
                {"recipe": recipe, "seed": seed, "processing": processing, "layer": layer, "accuracy": accuracy}
                for (recipe, seed), own in curves.items()
                for processing in dict.fromkeys(curve.processing for curve in own)
                for layer, accuracy in enumerate(
                    np.mean([curve.accuracy for curve in own if curve.processing == processing], axis=0).tolist()
                )
            ),
        ),
    )


def _answer(mean: Mapping[str, Effect], fixed: int) -> str:
    if not mean:
        return "Nothing can be said: no recipe with room for an effect shares seeds with the baseline."
    first = f"At layer {fixed}, that of the protocol, the mean gain in retrieval is {in_words(mean['gain'])}."
    words = "; ".join(f"{PARTS[name].said} {in_words(mean[name])}" for name in PARTS)
    return f"{first} Its parts: {words}. {chance(mean['gain'])}".strip()
