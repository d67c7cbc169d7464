"""Every recipe on a tiny source: it trains, does what its name says, and says so in its lineage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from pipelines import phases
from pipelines.cli import ROOT, parse
from pipelines.intermediate import Intermediate
from pipelines.job import Job
from pipelines.preset import load_preset, with_knobs
from pipelines.recipes import grid_problems
from pipelines.target import Target
from polystilts.data.source import RememberedRows, open_source
from polystilts.errors import InvalidValue, MissingData, Problems
from polystilts.tasks import get_task
from polystilts.tasks.recipe import languages_of, parse_recipe
from polystilts.training.checkpoint import Checkpoint, open_checkpoint
from polystilts.training.loop import NoRecorder
from polystilts.training.model import build_model, has_lm_head
from tests.pipelines.conftest import SENTENCES, tagged

FEW = "training.save_seconds=99"


class SilentTracker:
    @contextlib.contextmanager
    def run(self, *_: Any) -> Iterator[Any]:
        yield SimpleNamespace(info=SimpleNamespace(run_id="0", experiment_id="0"))


@pytest.fixture
def job_of(
    rows: Path, encoder: Path, preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Job]:
    """A job with some knobs changed, over UD-POS with training rows in three languages, COPA, and text."""
    for language in ("de", "zh"):
        lines = [f"{line} {n}/NUM" for n in range(6) for line in SENTENCES[language]]
        (rows / f"udpos/train-{language}.tsv").write_text(tagged(lines), encoding="utf-8")
    (rows / "text").mkdir()
    for language, count in (("en", 12), ("de", 4)):
        words = [line.replace("/", " ").split() for line in SENTENCES[language]]
        documents = [" ".join(words[n % len(words)][::2]) for n in range(count)]
        (rows / f"text/{language}.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
    monkeypatch.setattr(phases, "log_checkpoint", lambda *_: None)
    monkeypatch.setattr(phases.mlflow, "log_metrics", lambda *_: None)
    monkeypatch.setattr(phases.mlflow, "log_metric", lambda *_, **__: None)
    monkeypatch.setattr(phases.mlflow, "log_artifact", lambda *_: None)

    def make(knobs: str = "", *, output: str = "outputs", seed: int = 0) -> Job:
        return Job(
            preset=with_knobs(load_preset(str(preset)), f"{FEW} training.precision=fp32 {knobs}"),
            source=RememberedRows(open_source(f"local:{rows}", ROOT, param="--source")),
            base=str(encoder),
            seed=seed,
            output=tmp_path / output,
            intermediate=(),
            targets=(),
            console=Console(quiet=True),
            _tracker=SilentTracker(),  # type: ignore[arg-type]
        )

    return make


def train(job: Job, recipe: str, target: str = "") -> Checkpoint:
    spec = get_task(target) if target else None
    return phases.train_intermediate(job, parse_recipe(recipe), open_checkpoint(Path(job.base)), spec)


RECIPES = [
    ("udpos", {"en": 24}, None),
    ("copa+udpos", {"en": 24 + 12}, None),
    ("udpos:de", {"de": 18}, None),
    ("udpos+udpos:de", {"en": 24, "de": 18}, None),
    ("shuffled:udpos", {"en": 24}, None),
    ("mlm", {}, {"en": 12, "de": 4}),
    ("mlm-en", {}, {"en": 12}),
    ("mlm-en:udpos", {}, {"en": 4}),
    ("udpos+mlm", {"en": 24}, {"en": 12, "de": 4}),
    ("again:copa", {"en": 24}, None),
]


@pytest.mark.parametrize(("recipe", "languages", "text"), RECIPES, ids=[recipe for recipe, *_ in RECIPES])
def test_every_recipe_trains_for_the_same_number_of_updates(
    job_of: Callable[..., Job], recipe: str, languages: dict[str, int], text: dict[str, int] | None
) -> None:
    job = job_of("recipe.updates=5")
    checkpoint = train(job, recipe, "udpos")
    lineage = checkpoint.lineage
    assert (lineage["name"], lineage["recipe"], lineage["updates"]) == (recipe, recipe, 5)
    assert lineage["languages"] == languages
    assert lineage.get("text", {}).get("languages") == text
    assert sum(task["rows"] for task in lineage["tasks"]) == sum(languages.values())
    assert has_lm_head(checkpoint.folder) == (text is not None)
    assert lineage["transfer"] == ("encoder+lm_head" if text else "encoder")
    assert str(job.output.parent) not in str(lineage), "no folder of this machine"
    assert phases.as_today(job, lineage)
    # A target starts from it like from any encoder.
    target = phases.train_target(job, get_task("udpos"), checkpoint, recipe)
    assert target.lineage["recipe"] == recipe and phases.as_today(job, target.lineage)


@pytest.mark.parametrize("recipe", ["udpos+mlm", "shuffled:udpos", "copa+udpos:zh"])
def test_the_same_command_gives_the_same_weights_and_another_seed_others(
    job_of: Callable[..., Job], recipe: str
) -> None:
    first, again = (train(job_of("recipe.updates=4", output=name), recipe) for name in ("one", "two"))
    other = train(job_of("recipe.updates=4", seed=1), recipe)
    assert first.weights == again.weights != other.weights
    assert first.key == again.key != other.key


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("recipe", ["udpos+mlm", "mlm-en:udpos", "copa+shuffled:udpos", "udpos+udpos:de"])
def test_a_recipe_that_was_stopped_goes_on_to_the_same_weights(
    job_of: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    knobs = "recipe.updates=6 training.save_seconds=0.000001 training.robust=smoothing"
    whole = train(job_of(knobs, output="whole"), recipe)

    class Stops(NoRecorder):
        def __init__(self, _: Any) -> None:
            self.done = 0

        def advance(self, updates: int, metrics: Mapping[str, float]) -> None:
            self.done += updates
            if self.done == 3:
                raise Interrupted

    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(phases, "RunRecorder", Stops)
        train(job_of(knobs, output="parts"), recipe)
    started: list[int] = []

    class Starts(NoRecorder):
        def __init__(self, _: Any) -> None: ...

        def start(self, description: str, total: int, done: int) -> None:
            started.append(done)

    monkeypatch.setattr(phases, "RunRecorder", Starts)
    assert train(job_of(knobs, output="parts"), recipe).weights == whole.weights
    assert started == [2], "after the state of the second update, the last one saved"


def test_permuted_labels_take_the_signal_and_nothing_else(job_of: Callable[..., Job]) -> None:
    job = job_of("tasks.udpos.epochs=15 training.learning_rate=0.005")
    real, permuted = (train(job, recipe).lineage for recipe in ("udpos", "shuffled:udpos"))
    assert real["updates"] == permuted["updates"] and real["languages"] == permuted["languages"]
    assert real["checkpoint_score"] > permuted["checkpoint_score"] + 30


def test_a_recipe_that_was_done_is_found_and_every_knob_of_recipes_makes_another(job_of: Callable[..., Job]) -> None:
    done = train(job_of("recipe.updates=2"), "udpos+mlm")
    assert train(job_of("recipe.updates=2"), "udpos+mlm").folder == done.folder
    changes = (
        "recipe.updates=3", "recipe.rows=9", "recipe.examples_cap=9", "recipe.temperature=2.0",
        "recipe.transfer=encoder+pooler", "mlm.share=0.5", "mlm.exponent=1.0", "mlm.mask_rate=0.3", "mlm.batch_size=2",
        "mlm.languages=[de]", "mlm.head_rate=2.0", "training.layer_decay=0.9", "training.robust=smoothing",
        "training.robust=adversarial training.robust_radius=0.2",
    )  # fmt: skip
    folders = {done.folder}
    for change in changes:
        job = job_of(f"recipe.updates=2 {change}")
        assert not phases.as_today(job, done.lineage), change
        folders.add(train(job, "udpos+mlm").folder)
    assert len(folders) == 1 + len(changes)


def test_a_control_has_the_amount_of_its_task(job_of: Callable[..., Job]) -> None:
    job = job_of("tasks.copa.epochs=2 tasks.copa.batch_size=3")
    amount = train(job, "copa").lineage["updates"]
    assert amount == 8 != train(job, "udpos").lineage["updates"]
    assert train(job, "again:copa", "udpos").lineage["updates"] == amount
    assert train(job, "mlm-en:copa").lineage["updates"] == amount
    assert train(job, "shuffled:copa").lineage["updates"] == amount
    assert train(job, "again", "udpos").lineage["updates"] == train(job, "udpos").lineage["updates"]


def test_permuted_labels_keep_the_last_weights(job_of: Callable[..., Job]) -> None:
    lineage = train(job_of("training.selection=best"), "shuffled:udpos").lineage
    assert (lineage["selection"], lineage["best_update"]) == ("last", lineage["updates"])


def test_text_is_added_to_the_updates_of_tasks(job_of: Callable[..., Job]) -> None:
    alone = train(job_of(), "udpos").lineage["updates"]
    lineage = train(job_of("mlm.share=0.5"), "udpos+mlm").lineage
    assert (lineage["updates"], lineage["text"]["updates"]) == (2 * alone, alone)
    within = train(job_of("mlm.share=0.25 recipe.updates=8"), "udpos+mlm").lineage
    assert (within["updates"], within["text"]["updates"]) == (8, 2)


def test_rows_are_limited_alike(job_of: Callable[..., Job]) -> None:
    lineage = train(job_of("recipe.rows=5"), "udpos+udpos:de+copa").lineage
    assert [task["languages"] for task in lineage["tasks"]] == [{"en": 5}, {"de": 5}, {"en": 5}]


def test_tasks_of_one_name_share_a_head_and_permuted_labels_do_not(
    job_of: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    real = phases.train

    def watched(module: Any, *arguments: Any, **options: Any) -> Any:
        seen.update({name: id(model.classifier) for name, model in module.items()})
        return real(module, *arguments, **options)

    monkeypatch.setattr(phases, "train", watched)
    train(job_of("recipe.updates=1"), "udpos+udpos:de+shuffled:udpos")
    assert seen["udpos"] == seen["udpos:de"] != seen["shuffled:udpos"]


def test_an_average_lies_between_the_trained_encoder_and_its_parent(job_of: Callable[..., Job]) -> None:
    trained = train(job_of(), "copa+mlm")
    job = job_of("recipe.average=0.25")
    found = train(job, "copa+mlm")
    assert found.folder != trained.folder and found.lineage["average"]["of"] == trained.weights
    assert (found.lineage["name"], found.lineage["updates"]) == ("copa+mlm", trained.lineage["updates"])
    base, one, two = (
        load_file(folder / "model.safetensors") for folder in (Path(job.base), trained.folder, found.folder)
    )
    for name, value in base.items():
        expected = 0.75 * one[f"roberta.{name}"] + 0.25 * value
        torch.testing.assert_close(two[f"roberta.{name}"], expected)
    assert torch.equal(one["lm_head.bias"], two["lm_head.bias"]), "the base has none to average with"
    assert phases.as_today(job, found.lineage) and not phases.as_today(job, trained.lineage)
    assert not phases.as_today(job_of(), found.lineage)


def test_a_pooler_travels_where_it_is_asked_to(job_of: Callable[..., Job]) -> None:
    plain = train(job_of("recipe.updates=2"), "copa+udpos")
    jiant = train(job_of("recipe.updates=2 recipe.transfer=encoder+pooler"), "copa+udpos")
    names = [set(load_file(c.folder / "model.safetensors")) for c in (plain, jiant)]
    assert not [name for name in names[0] if "pooler" in name]
    assert {name for name in names[1] if "pooler" in name} == {"pooler.dense.weight", "pooler.dense.bias"}
    assert [c.lineage["transfer"] for c in (plain, jiant)] == ["encoder", "encoder+pooler"]
    kept = load_file(jiant.folder / "model.safetensors")["pooler.dense.weight"]
    assert torch.equal(build_model("choice", jiant.folder).roberta.pooler.dense.weight, kept)


class TestTargets:
    def target(self, job: Job, *languages: str, recipe: str = "baseline", task: str = "udpos") -> Checkpoint:
        return phases.train_target(job, get_task(task), open_checkpoint(Path(job.base)), recipe, languages)

    def test_in_several_languages_at_equal_updates_and_at_equal_passes(self, job_of: Callable[..., Job]) -> None:
        english = self.target(job_of(), "en")
        updates = self.target(job_of(), "en", "de")
        passes = self.target(job_of("target.match=passes"), "en", "de")
        assert english.lineage["recipe"] == "baseline" and english.lineage["languages"] == {"en": 24}
        for checkpoint in (updates, passes):
            assert checkpoint.lineage["recipe"] == "baseline@en-de"
            assert checkpoint.lineage["languages"] == {"en": 24, "de": 18}
        assert [c.lineage["updates"] for c in (english, updates, passes)] == [3, 3, 6]
        assert languages_of(updates.lineage) == ("en", "de") and languages_of(english.lineage) == ("en",)
        assert phases.as_today(job_of(), updates.lineage) and not phases.as_today(job_of(), passes.lineage)

    def test_another_source_language_than_english(self, job_of: Callable[..., Job]) -> None:
        german = self.target(job_of(), "de", recipe="udpos")
        assert (german.lineage["recipe"], german.lineage["languages"]) == ("udpos@de", {"de": 18})
        assert german.lineage["updates"] == 3 and languages_of(german.lineage) == ("de",)

    def test_the_first_language_sets_the_amount(self, job_of: Callable[..., Job]) -> None:
        knobs = "training.batch_size=2"
        updates = [self.target(job_of(knobs), *order).lineage["updates"] for order in (("de", "en"), ("en", "de"))]
        assert updates == [9, 12]

    def test_a_language_without_training_rows_is_refused(self, job_of: Callable[..., Job]) -> None:
        with pytest.raises(MissingData, match="no training rows of copa in 'de'; languages there: en"):
            self.target(job_of(), "en", "de", task="xcopa")

    def test_the_grid_takes_recipes_with_languages_and_controls(self, job_of: Callable[..., Job]) -> None:
        job = job_of("recipe.updates=2")
        job.targets = (get_task("udpos"), get_task("tatoeba"))
        job.intermediate = (parse_recipe("udpos@en-de"), parse_recipe("again:copa"))  # type: ignore[assignment]
        cells = phases.run_grid(job)
        assert [(cell.spec.name, cell.recipe) for cell in cells] == [
            (target, recipe) for recipe in ("baseline", "udpos@en-de", "again:copa") for target in ("udpos", "tatoeba")
        ]
        assert cells[3].checkpoint.lineage["name"] == "udpos", "scored as it is"
        assert cells[5].checkpoint.lineage["name"] == cells[1].checkpoint.lineage["name"], "nothing to be trained again"
        assert ":" not in "".join(path.name for path in job.output.rglob("*"))

    def test_a_grid_that_cannot_be_trained_is_refused_whole(self, job_of: Callable[..., Job]) -> None:
        job = job_of("target.languages=[en,ru]")
        job.targets = (get_task("udpos"), get_task("xcopa"))
        job.intermediate = (parse_recipe("udpos@en-de"), parse_recipe("copa:de"))  # type: ignore[assignment]
        with pytest.raises(Problems) as caught:
            grid_problems(job, ("--intermediate", "--targets"))
        found = sorted(
            (problem.given, problem.message.split(" training rows of ")[1][:5]) for problem in caught.value.problems
        )
        assert found == [("de", "copa "), ("ru", "copa "), ("ru", "udpos")], "each once"


class TestParameters:
    @pytest.fixture
    def refused(self, job_of: Callable[..., Job], preset: Path) -> Callable[..., str]:
        job_of()

        def run(model: Any, *arguments: str) -> str:
            with pytest.raises(Problems) as caught:
                parse(model, [f"--preset={preset}", *arguments], program="test")
            return caught.value.message

        return run

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--tasks=shuffled"], "'shuffled' needs a task"),
            (["--tasks="], "no recipe is given"),
            (["--tasks=udpos@en-de"], "names languages of a target"),
            (["--tasks=again:copa"], "trains the target's own training task, and no target is given"),
            (["--tasks=again", "--target=tatoeba"], "and tatoeba is not trained"),
            (["--tasks=copa:de"], "no training rows of copa in 'de'; languages there: en"),
            (["--tasks=shuffled:mnli"], "has no English training rows of mnli"),
            (["--tasks=mlm", "--knobs=mlm.languages=[sw]"], "there is no text in sw; languages there: de, en"),
            (["--tasks=mlm", "--knobs=mlm.text=/nowhere"], "no files LANGUAGE.txt"),
            (["--tasks=udpos", "--knobs=recipe.update=3"], "did you mean 'updates'"),
            (["--tasks=udpos", "--knobs=recipe.average=2"], "less than or equal to 1"),
            (["--tasks=udpos", "--knobs=training.robust=fgm"], "'adversarial' or 'smoothing'"),
            (["--tasks=udpos", "--knobs=updates"], "'updates' is not SECTION.KNOB=VALUE"),
        ],
    )
    def test_intermediate(self, refused: Callable[..., str], arguments: list[str], message: str) -> None:
        assert message in refused(Intermediate, *arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--languages=en,xx"], "unknown language 'xx'"),
            (["--languages=en,ru"], "no training rows of udpos in 'ru'; languages there: en, de, zh"),
            (["--languages=en,en"], "none twice"),
            (["--knobs=target.match=rows"], "'updates' or 'passes'"),
        ],
    )
    def test_target(self, refused: Callable[..., str], arguments: list[str], message: str) -> None:
        assert message in refused(Target, "--target=udpos", *arguments)


def test_options_are_checked_by_the_preset() -> None:
    preset = with_knobs(load_preset("micro"), "tasks.mnli.epochs=2 mlm.languages=[en,de] training.layer_decay=0.5")
    assert (preset.tasks["mnli"].epochs, preset.mlm.languages, preset.training.layer_decay) == (2, ("en", "de"), 0.5)
    assert with_knobs(preset, "") == preset
    with pytest.raises(Problems) as caught:
        with_knobs(preset, "recipe.rows=-1 recipe.temperature=0")
    assert len(caught.value.problems) == 2 and isinstance(caught.value, InvalidValue | Problems)
