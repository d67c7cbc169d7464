"""The knobs `training.noise_*` change the rows that a training sees, and only those that they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.cli import ROOT
from pipelines.job import Job
from pipelines.objectives import prepare
from pipelines.phases import train_target
from pipelines.planning import Graph
from pipelines.preset import Preset, with_knobs
from pipelines.recipes import target_plan
from polystilts.data.noise import NoiseSettings
from polystilts.data.noise.rows import KIND_SETS, noised_share
from polystilts.data.roles import training_rows as labelled_rows
from polystilts.data.source import RememberedRows, open_source
from polystilts.errors import Problems
from polystilts.formats import Pieces, make_format
from polystilts.training.checkpoint import open_checkpoint
from polystilts.training.objective import training_rows
from tests.world.encoder import tiny_encoder

#: Sentences a language; UD-POS has their places as ids, so that ids are the same in both languages.
ROWS, WORDS = 400, 8
FORMS = {
    "en": ["cat", "sleeps", "table", "nobody", "outside", "today", "dog", "river", "house", "empty"],
    "de": ["Katze", "schläft", "heute", "Tisch", "niemand", "draußen", "Hund", "läuft", "Fluss", "leer"],
}

Encoded = list[tuple[tuple[int, ...], tuple[int, ...]]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "rows/udpos").mkdir(parents=True)
    for language, forms in FORMS.items():
        for split, count in (("train", ROWS), ("dev", 20)):
            lines = [
                "".join(
                    f"{forms[(row * 7 + word * word) % 10]}\t{('NOUN', 'VERB', 'ADV')[(row + word) % 3]}\n"
                    for word in range(WORDS)
                )
                for row in range(count)
            ]
            (folder / f"rows/udpos/{split}-{language}.tsv").write_text("\n".join(lines), encoding="utf-8")
    tiny_encoder(folder / "encoder")
    return folder


def job_of(world: Path, knobs: str, *, seed: int = 0) -> Job:
    plain = Preset(description="noise", source=f"local:{world / 'rows'}", base=str(world / "encoder"), targets="udpos")
    return Job(
        preset=with_knobs(plain, knobs),
        source=RememberedRows(open_source(plain.source, ROOT, param="--source")),
        base=plain.base,
        seed=seed,
        output=world / "outputs",
        intermediate=(),
        targets=(),
        console=Console(quiet=True),
    )


def seen(world: Path, knobs: str, *, language: str = "en", seed: int = 0) -> Encoded:
    """The training rows in their order: pieces and labels of each."""
    job = job_of(world, knobs, seed=seed)
    [part] = target_plan(job, job.task("udpos"), (language,)).tasks
    prepared = prepare(job, part, open_checkpoint(Path(job.base)), "target")
    assert prepared.examples["udpos"] == {language: ROWS}, "noise neither adds rows nor takes any"
    return encoded(prepared.rows)


def encoded(rows: Any) -> Encoded:
    assert len(rows) == ROWS
    return [(tuple(row.features[0].input_ids.tolist()), tuple(row.targets[0].tolist())) for row in rows]


def changed(some: Encoded, other: Encoded) -> set[int]:
    """Places of the rows that differ."""
    return {place for place, (one, two) in enumerate(zip(some, other, strict=True)) if one != two}


def test_the_share_of_the_rows_is_the_one_asked(world: Path) -> None:
    clean = seen(world, "training.noise_share=0")
    assert clean == seen(world, "training.noise_rate=1 training.noise_kinds=all"), "without a share there is no noise"
    found = {}
    for share in (0.1, 0.3, 0.6, 1.0):
        found[share] = changed(clean, seen(world, f"training.noise_share={share} training.noise_rate=1"))
        # Three standard errors of a binomial share; every word of a row with noise has a mistake.
        assert abs(len(found[share]) / ROWS - share) <= 3 * (share * (1 - share) / ROWS) ** 0.5
    assert found[0.1] < found[0.3] < found[0.6] < found[1.0], "rows of a share are among those of every larger one"


def test_the_rate_decides_how_many_words_of_such_a_row(world: Path) -> None:
    clean = seen(world, "training.noise_share=0")
    for rate in (0.05, 0.2):
        rows = len(changed(clean, seen(world, f"training.noise_share=1 training.noise_rate={rate}")))
        expected = 1 - (1 - rate) ** WORDS
        assert rows / ROWS == pytest.approx(expected, abs=3 * (expected * (1 - expected) / ROWS) ** 0.5)


def test_the_kinds_are_those_asked(world: Path) -> None:
    """And the default is `train`, so that `held-out` tells what a training with noise has not seen."""
    knobs = "training.noise_share=1 training.noise_rate=0.5"
    job = job_of(world, knobs)
    [part] = target_plan(job, job.task("udpos"), ("en",)).tasks
    settings = prepare(job, part, open_checkpoint(Path(job.base)), "target", encode=False).settings
    format_ = make_format(Pieces.open(world / "encoder"), settings)
    found = {}
    for kinds, names in KIND_SETS.items():
        noise = NoiseSettings(0.5, names, 0)
        expected = noised_share(labelled_rows(job.source, part.task), noise, share=1.0)[0]
        found[kinds] = seen(world, f"{knobs} training.noise_kinds={kinds}")
        assert found[kinds] == encoded(training_rows(format_, expected))
    assert seen(world, knobs) == found["train"]
    assert changed(found["train"], found["held-out"]) and changed(found["train"], found["all"])


def test_ids_and_the_seed_decide_which_rows(world: Path) -> None:
    knobs = "training.noise_share=0.3 training.noise_rate=1"
    noised = {language: seen(world, knobs, language=language) for language in FORMS}
    places = {
        language: changed(seen(world, "training.noise_share=0", language=language), rows)
        for language, rows in noised.items()
    }
    assert places["en"] == places["de"], "the same ids in both languages, whatever the text"
    assert noised["en"] == seen(world, knobs), "again: the same rows, changed in the same way"
    clean, other = seen(world, "training.noise_share=0", seed=1), seen(world, knobs, seed=1)
    assert changed(clean, other) != places["en"]


def test_rows_without_noise_and_all_labels_stay(world: Path) -> None:
    clean, noised = (seen(world, f"training.noise_share={share} training.noise_rate=1") for share in (0, 0.3))
    touched = changed(clean, noised)
    assert 0 < len(touched) < ROWS
    assert all(noised[place] == clean[place] for place in range(ROWS) if place not in touched)
    tags = [[tag for tag in labels if tag >= 0] for _, labels in clean]
    assert [[tag for tag in labels if tag >= 0] for _, labels in noised] == tags


def test_noise_is_a_knob_of_the_whole_training(world: Path) -> None:
    with pytest.raises(Problems, match="noise_share"):
        job_of(world, "tasks.udpos.noise_share=0.5")


@pytest.mark.parametrize("knob", ["noise_share=0.5", "noise_rate=0.2", "noise_kinds=all"])
def test_a_training_with_other_noise_is_another_one(world: Path, knob: str) -> None:
    def key(knobs: str) -> str:
        job = job_of(world, knobs)
        job.graph = Graph()
        return train_target(job, job.task("udpos"), open_checkpoint(Path(job.base)), "baseline").key

    assert key("training.noise_share=0.3") == key("training.noise_share=0.3")
    assert key(f"training.noise_share=0.3 training.{knob}") != key("training.noise_share=0.3")
