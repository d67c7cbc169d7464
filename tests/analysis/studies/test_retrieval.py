"""The split of a gain in retrieval on vectors whose make is known: each part finds what was put there."""

from __future__ import annotations

import numpy as np
import pytest

from polystilts.analysis.studies.retrieval import (
    PARTS,
    STAGES,
    Embedded,
    correct_by_layer,
    retrieval_split,
    stages,
    whitened,
    whitening,
)
from polystilts.errors import InvalidValue
from tests.analysis.studies.world import check_tables

ROWS, WIDTH, LAYERS = 80, 16, 3


def vectors(
    rng: np.random.Generator, *, noise: float = 0.5, at: int = 1, shift: float = 0.0, stretch: float = 1.0
) -> Embedded:
    """Pairs of equal meaning with noise; other layers than `at` mean nothing.

    Args:
        shift: of one side, a common direction.
        stretch: of one axis that says nothing.
    """
    meaning = rng.normal(size=(ROWS, WIDTH))
    sides = []
    for place in range(2):
        side = rng.normal(size=(LAYERS, ROWS, WIDTH))
        side[at] = meaning + noise * rng.normal(size=(ROWS, WIDTH))
        side[:, :, 0] = stretch * rng.normal(size=(LAYERS, ROWS))
        side += (place * shift * np.eye(WIDTH)[1]).astype(side.dtype)
        sides.append(side.astype(np.float32))
    ids = tuple(f"q{n}" for n in range(ROWS))
    return Embedded(ids, sides[0], sides[1], np.arange(ROWS), np.arange(ROWS) % 2 == 0)


def seeds_of(count: int = 3, *, start: int = 0, **how: float) -> dict[int, dict[str, Embedded]]:
    return {
        seed: {language: vectors(np.random.default_rng(start + 10 * seed + place), **how)  # type: ignore[arg-type]
               for place, language in enumerate(("de", "sw"))}
        for seed in range(count)
    }  # fmt: skip


def test_the_parts_add_up_to_the_gain_at_the_fixed_layer() -> None:
    models = {"baseline": seeds_of(1, noise=1.2), "mnli": seeds_of(noise=0.9, shift=0.5)}
    found = retrieval_split(models, target="tatoeba", fixed=1)
    (split,) = found.splits
    assert sum(part.value for part in split.parts.values()) == pytest.approx(split.gain.value)
    assert split.gain.value == pytest.approx(split.stages["fixed"].value)
    assert split.parts["rest"].value == pytest.approx(split.stages["whitened"].value)
    assert set(split.p_holm) == set(PARTS) and set(split.layers) == {0, 1, 2}
    assert split.gain.seeds == (0, 1, 2) and split.gain.rows == ROWS
    assert found.mean["gain"].value == pytest.approx(split.gain.value) and not found.not_concluded
    assert f"{split.gain.value:+.1f} points" in found.answer and "layer 1" in found.answer
    check_tables(found.tables)


@pytest.mark.parametrize(
    ("baseline", "part"),
    [
        ({"at": 2}, "layer"),
        ({"shift": 20.0}, "language means"),
        ({"stretch": 30.0}, "whitening"),
        ({"noise": 2.5}, "rest"),
    ],
)
def test_each_part_finds_what_was_put_there(baseline: dict[str, float], part: str) -> None:
    models = {"baseline": seeds_of(1, start=500, **baseline), "mnli": seeds_of()}
    (split,) = retrieval_split(models, target="tatoeba", fixed=1).splits
    assert split.gain.low > 10
    assert split.parts[part].low > 0 and split.parts[part].value > 0.6 * split.gain.value
    assert all(abs(effect.value) < 0.35 * split.gain.value for name, effect in split.parts.items() if name != part)


def test_what_finds_no_more_than_a_guess_supports_nothing() -> None:
    models = {"baseline": seeds_of(1, noise=500.0, start=700)}
    models |= {"csqa": seeds_of(noise=500.0, start=900), "mnli": seeds_of()}
    found = retrieval_split(models, target="tatoeba", fixed=1)
    assert {split.recipe: split.limit for split in found.splits} == {"csqa": "floor", "mnli": ""}
    assert found.mean["gain"].value == pytest.approx(found.splits[1].gain.value)
    assert found.not_concluded == ("anything from csqa, because neither side is shown to be above chance",)
    nothing = retrieval_split({name: models[name] for name in ("baseline", "csqa")}, target="tatoeba", fixed=1)
    assert nothing.mean == {} and "Nothing can be said" in nothing.answer


def test_layers_are_chosen_on_choice_rows_alone() -> None:
    part = vectors(np.random.default_rng(0), at=1)
    spoiled = part.queries.copy()
    # On choice rows layer 2 is perfect, on report rows it is not.
    spoiled[2, part.choice] = part.candidates[2, part.choice]
    misled = Embedded(part.ids, spoiled, part.candidates, part.gold, part.choice)
    found, curves = stages({"de": misled}, fixed=1)
    assert found["best"].layers == {"de": 2} and found["fixed"].layers == {"de": 1}
    curve = next(curve for curve in curves if curve.processing == "as it is")
    assert len(curve.accuracy) == LAYERS and curve.accuracy[1] > 80 > 20 > curve.accuracy[2]
    assert found["best"].correct["de"].ids == tuple(f"q{n}" for n in range(1, ROWS, 2))
    assert {curve.processing for curve in curves} == {"as it is", *STAGES[2:]}


def test_means_and_transforms_are_fitted_on_choice_rows_alone() -> None:
    part = vectors(np.random.default_rng(0), shift=5.0)
    moved = part.queries.copy()
    moved[:, ~part.choice] += 100.0
    other = Embedded(part.ids, moved, part.candidates, part.gold, part.choice)
    one, two = part.centred(), other.centred()
    np.testing.assert_allclose(one.queries[:, part.choice], two.queries[:, part.choice], atol=1e-4)
    np.testing.assert_allclose(one.queries[:, part.choice].mean(axis=1), 0.0, atol=1e-5)
    one, two = whitened({"de": one})["de"], whitened({"de": two})["de"]
    np.testing.assert_allclose(one.queries[:, part.choice], two.queries[:, part.choice], atol=1e-3)


def test_whitening_makes_variances_equal_and_survives_few_rows() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 8)) @ np.diag([1, 2, 3, 4, 5, 6, 7, 30.0]) @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    after = rows @ whitening([rows[:2500], rows[2500:]])
    np.testing.assert_allclose(np.cov(after.T), np.eye(8), atol=0.05)
    few = rng.normal(size=(5, 64))
    transform = whitening([few - few.mean(axis=0)])
    assert np.isfinite(transform).all() and np.linalg.cond(transform) < 100
    np.testing.assert_allclose(transform, transform.T, atol=1e-10)


def test_the_nearest_candidate_is_right_or_not() -> None:
    queries = np.array([[[1, 0], [0, 1]]], dtype=np.float32)
    candidates = np.array([[[0, 2], [3, 0], [1, 1]]], dtype=np.float32)
    part = Embedded(("a", "b"), queries, candidates, np.array([1, 2]), np.array([True, False]))
    assert correct_by_layer(part).tolist() == [[True, False]]


def test_one_seed_and_wrong_shapes_are_named() -> None:
    found = retrieval_split({"baseline": seeds_of(1), "mnli": seeds_of(1)}, target="tatoeba", fixed=1)
    assert "cannot separate" in found.answer and "cannot separate it from chance" in found.not_concluded[0]
    with pytest.raises(InvalidValue, match="needs the baseline"):
        retrieval_split({"mnli": seeds_of(1)}, target="tatoeba", fixed=1)
    with pytest.raises(InvalidValue, match="layer 3 of 2 languages"):
        stages(seeds_of(1)[0], fixed=3)
    part = vectors(np.random.default_rng(0))
    with pytest.raises(InvalidValue, match="needs as many each"):
        Embedded(part.ids[1:], part.queries, part.candidates, part.gold, part.choice)
    with pytest.raises(InvalidValue, match="choice rows and report rows"):
        Embedded(part.ids, part.queries, part.candidates, part.gold, np.ones(ROWS, dtype=bool))
