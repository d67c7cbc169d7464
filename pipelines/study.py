"""Entry point `study`: one of the five research questions, from its grid to its report."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipelines.cli import command
from pipelines.job import Job, JobParameters, names
from pipelines.pretraining_sizes import pretraining_sizes
from pipelines.recipes import KNOBS
from pipelines.sweep import Arm, Sweep, arms_of
from polystilts.analysis.cells import base_name
from polystilts.errors import InvalidValue, PolystiltsError, Problems
from polystilts.runtime.folders import digest_of
from polystilts.tasks import get_task
from polystilts.tasks.catalogue import TASKS
from polystilts.tasks.recipe import parse_recipe

if TYPE_CHECKING:
    from polystilts.analysis.cells import CellFile
    from polystilts.analysis.report import DataLine, RunLine
    from polystilts.analysis.studies.retrieval import Embedded
    from polystilts.analysis.study_reports import StudyCell, StudyFile
    from polystilts.data.conditions import Condition
    from polystilts.formats import FormatSettings
    from polystilts.tasks import TaskSpec
    from polystilts.tracking.runs import Tracker
    from polystilts.training.checkpoint import Checkpoint

EXAMPLES = """\
  python -m pipelines.study --question code
  python -m pipelines.study --question typo --seeds 0,1,2,3,4 --kinds all
  python -m pipelines.study --question low-resource --preset mini --source local:DIR --base FOLDER --targets udpos,panx
  python -m pipelines.study --question scale --preset xlmr-base --bases xlm-roberta-base,xlm-roberta-large"""

#: Rows of each target and language that fertility is measured on, and the fields of an example that are text.
FERTILITY_ROWS = 50
TEXTS = ("premise", "hypothesis", "question", "context", "text")

Question = Literal["scale", "paws", "low-resource", "typo", "code"]


@dataclass(frozen=True)
class Design:
    """The micro world's grid of a question: what is compared where nothing else is asked for.

    Attributes:
        recipes: with those of the multilingual arm.
        seeds: as many as end within minutes.
        options: as `Sweep.options`.
    """

    recipes: str
    targets: str
    bases: str = ""
    seeds: str = "0,1,2"
    options: str = ""
    rates: tuple[float, ...] = field(default=())
    pairs: bool = False


DESIGNS: Mapping[str, Design] = {
    "code": Design("cosqa,defect,qqp,snli", "xnli,udpos,tatoeba"),
    "typo": Design(
        "qqp,baseline@en-de-es",
        "xnli,xquad",
        options="noise_share=0.5",
        rates=(0.05, 0.1, 0.2),
    ),
    "low-resource": Design("qqp,squad_v1", "udpos,xnli,tatoeba", bases="micro:graded"),
    "paws": Design("udpos,mnli,udpos+mnli,udpos+mnli+squad_v1", "pawsx", rates=(0.1, 0.2), pairs=True),
    "scale": Design("qqp,squad_v1", "xnli,udpos,tatoeba", bases="micro:small,micro"),
}


class Study(JobParameters):
    """Answers one question: trains and scores what is missing, computes, writes the report.

    '' takes the question's own design in the micro world, and the preset's elsewhere. Finished phases are found and
    skipped, and the same command continues after an interruption. The report lies in `reports/study-QUESTION/`.
    """

    question: Question = Field(description="scale, paws, low-resource, typo or code")
    preset: str = Field("micro-study", description="name of a file in presets/, or path of one")
    intermediate: str = Field("", description="recipes, ',' between; of typo also the multilingual ones, with @")
    targets: str = Field("", description="targets, ',' between")
    bases: str = Field("", description="encoders, ',' between: of scale two, small and large; '' = the one of --base")
    seeds: str = Field("", description="seeds, ',' between; fewer than three support no claim about a recipe")
    options: str = Field("", description="arms with other knobs, as in a sweep; none = none; of typo those with noise")
    knobs: str = Field("", description=KNOBS)
    rates: str = Field("", description="of typo and paws: shares of words with a mistake, ',' between")
    kinds: str = Field("held-out", description="of mistakes: all, train, held-out, or names; training has train")

    def tasks_asked(self) -> tuple[str, str]:
        return self.intermediate or self.design.recipes, self.targets or self.design.targets

    @property
    def design(self) -> Design:
        """What is compared where nothing else is asked for."""
        return DESIGNS[self.question]

    def sweep(self) -> Sweep:
        """The grid."""
        own = self.design if self.preset == "micro-study" else Design("", "")
        recipes, targets = self.tasks_asked()
        options = "" if self.options == "none" else self.options or own.options
        return Sweep(
            preset=self.preset,
            source=self.source,
            base=self.base,
            seed=self.seed,
            output=self.output,
            on_bad_row=self.on_bad_row,
            intermediate=recipes,
            targets=targets,
            bases=self.bases or ("" if self.base else own.bases),
            seeds=self.seeds or ("" if self.seed >= 0 else own.seeds),
            options=options,
            knobs=self.knobs,
        )

    def problems(self) -> Sequence[PolystiltsError]:
        try:
            arms = arms_of(self.sweep())
            conditions_of(self)
        except Problems as error:
            return error.problems
        except PolystiltsError as error:
            return [error]
        bases = list(dict.fromkeys(arm.base for arm in arms))
        called = [base_name(base) for base in bases]
        if len(set(called)) < len(called):
            message = f"bases are called by their folders, and two by the same name: {', '.join(bases)}"
            return [InvalidValue(message, param="--bases", given=", ".join(bases))]
        if self.question == "scale" and len(bases) != 2:
            given = ", ".join(bases)
            return [InvalidValue(f"scale compares two bases; given: {given}", param="--bases", limit=2, given=given)]
        if self.question == "typo" and not multilingual_of(arms[0].job):
            return [InvalidValue("typo needs a recipe with several languages: baseline@en-de", param="--intermediate")]
        if self.question == "paws" and any(spec.format != "pair" for spec in arms[0].job.targets):
            return [InvalidValue("paws needs a target of pairs: pawsx", param="--targets", given=self.targets)]
        return []


def multilingual_of(job: Job) -> list[str]:
    """Recipes of a job whose targets are trained in several languages."""
    return [recipe.name for recipe in job.intermediate if len(recipe.languages) > 1]


def conditions_of(parameters: Study) -> list[Condition]:
    """Under which every cell is scored beside clean text.

    Raises:
        InvalidValue, UnknownName: rates or kinds that are none.
    """
    from polystilts.data.conditions import Condition, noise_of
    from polystilts.data.noise import NoiseSettings
    from polystilts.data.noise.rows import parse_kinds

    design = parameters.design
    kinds = parse_kinds(parameters.kinds, param="--kinds")
    try:
        rates = [float(rate) for rate in names(parameters.rates)] or list(design.rates)
    except ValueError:
        rates = [-1.0]
    if any(not 0.0 <= rate <= 1.0 for rate in rates):
        message = f"{parameters.rates!r} are no shares of words from 0 to 1"
        raise InvalidValue(message, param="--rates", limit=1, given=parameters.rates)
    if parameters.question not in ("typo", "paws"):
        return []
    found = [noise_of(NoiseSettings(rate, kinds)) for rate in sorted(set(rates)) if rate]
    return found + [Condition("swapped"), Condition("renamed")] * design.pairs


def name_of(condition: Condition) -> str:
    """A condition as studies call it: the rate in percent and the kinds; of renaming one seed is like another."""
    from polystilts.analysis.studies.common import noise_condition
    from polystilts.data.noise.rows import name_of_kinds

    if condition.noise is None:
        return condition.kind
    kinds = name_of_kinds(condition.noise.kinds)
    return noise_condition(condition.noise.rate, "" if kinds == "all" else kinds)


def run(parameters: Study) -> None:
    sweep = parameters.sweep()
    arms = arms_of(sweep)
    job = arms[0].job
    tracker = job.tracker
    from pipelines import phases

    folder = job.output / "studies" / f"{parameters.question}-{_key(parameters)}"
    with phases.whole(job, tracker, "study", parameters):
        phases.say_missing_languages(job)
        run_study(parameters, arms, folder, tracker)


def _key(parameters: Study) -> str:
    return digest_of(parameters.model_dump(mode="json", exclude={"output"}))[:16]


def run_study(parameters: Study, arms: Sequence[Arm], folder: Path, tracker: Tracker) -> Path:
    """Runs what is missing, inside the active run, and returns the report's folder.

    Raises:
        PolystiltsError: something failed; the report of the rest has been written and names it.
    """
    import time

    import mlflow

    from pipelines.report import write_study
    from pipelines.sweeping import run_sweep
    from polystilts.analysis.cells import FAILURES, read_cells
    from polystilts.runtime.folders import read_json

    started = time.time()
    failure: PolystiltsError | None = None
    sweep = parameters.sweep().model_dump(mode="json", exclude={"output"})
    try:
        run_sweep(arms, folder, tracker, sweep)
    except PolystiltsError as error:
        failure = error
    cells = read_cells(folder)
    if not cells and failure:
        raise failure
    failed = read_json(folder / FAILURES)
    study = study_file(parameters, arms, cells, failed, tracker, folder, started)
    study.write(folder)
    place = write_study(study, arms[0].job.output, tracker)
    mlflow.log_artifacts(str(folder), "study")
    mlflow.set_tag("polystilts.question", parameters.question)
    if failure:
        raise failure
    return place


def study_file(
    parameters: Study,
    arms: Sequence[Arm],
    files: Sequence[CellFile],
    failed: Mapping[str, Any],
    tracker: Tracker,
    folder: Path,
    started: float,
) -> StudyFile:
    """Scores the cells under the question's conditions, and notes everything that its report needs."""
    import time

    from polystilts.analysis.study_reports import StudyFile

    jobs = {(arm.base, arm.option.name, arm.job.seed): arm.job for arm in arms}
    job, conditions = arms[0].job, conditions_of(parameters)
    cells: list[StudyCell] = []
    for file in files:
        cells += _scored(jobs[file.base, file.option, file.seed], file, conditions)
    recipes = list(dict.fromkeys(file.recipe for file in files))
    settings: dict[str, Any] = {}
    if parameters.question == "code":
        settings["sizes_of_tasks"] = _task_sizes(job, recipes)
    if parameters.question == "typo":
        multilingual = [recipe for recipe in recipes if len(parse_recipe(recipe).languages) > 1]
        others = [recipe for recipe in recipes if recipe not in multilingual and recipe != "baseline"]
        settings |= {"intermediate": others, "multilingual": multilingual}
    if parameters.question == "paws":
        settings |= {"target": job.targets[0].name}
        if job.preset.recipe.updates:
            settings["updates"] = dict.fromkeys(recipes, job.preset.recipe.updates)
    if parameters.question == "scale":
        small, large = dict.fromkeys(base_name(arm.base) for arm in arms)
        settings |= {"small": small, "large": large}
    settings |= _texts(files)
    if parameters.question == "low-resource" and not settings.get("sizes") and not settings.get("cc100"):
        raise InvalidValue(
            "nobody knows how much text of each language this base has read; its folder may have a pretraining.json "
            'with {"languages": {"en": {"tokens": 1000}, ...}}',
            param="--base",
            given=files[0].base,
        )
    if parameters.question == "low-resource":
        settings["fertility"] = _fertility(job, files[0])
    runs, data = _runs(files, failed, tracker, started), _data(files)
    return StudyFile(
        question=parameters.question,
        source=job.source.name,
        command=_command(parameters),
        settings=settings,
        parameters={base_name(file.base): file.parameters for file in files},
        cells=tuple(cells),
        trivial=_trivial(arms[0].job, folder),
        setting=_setting(parameters, arms, files),
        runs=tuple(runs),
        data=tuple(data),
        cost=(("time of this command", f"{(time.time() - started) / 60:.1f} min"),),
        retrieval=tuple(_retrieval(jobs, files)),
        missing=tuple(
            f"{one['target']} from {one['recipe']} (base {base_name(one['base'])}, seed {one['seed']}), because "
            f"{one['because']} failed"
            for one in failed["not_run"]
        ),
    )


def _scored(job: Job, file: CellFile, conditions: Sequence[Condition]) -> list[StudyCell]:
    """The banks of a cell, clean and under each condition."""
    from pipelines.conditions import score_under
    from pipelines.scoring import Cell, scoring_settings
    from polystilts.analysis.study_reports import StudyCell
    from polystilts.data.conditions import CLEAN
    from polystilts.metrics.bank import read_bank
    from polystilts.training.checkpoint import open_checkpoint

    base = base_name(file.base, file.option)

    def cell(condition: Condition, bank: Path) -> StudyCell:
        where = bank.relative_to(job.output).as_posix()
        return StudyCell(base, file.recipe, file.target, file.seed, name_of(condition), where)

    if not conditions:
        return [cell(CLEAN, file.bank)]
    spec, checkpoint = get_task(file.target), open_checkpoint(file.checkpoint)
    settings, _ = scoring_settings(job, spec, checkpoint)
    found = Cell(spec, file.recipe, checkpoint, settings, read_bank(file.bank), file.bank, file.key)
    return [cell(one.condition, one.bank) for one in score_under(job, found, [CLEAN, *conditions])]


def _retrieval(jobs: Mapping[tuple[str, str, int], Job], files: Sequence[CellFile]) -> list[dict[str, Any]]:
    """What the split of the gain in retrieval needs, for each base and target of aligned sentences; found in
    `layers/` of the output folder, or computed."""
    from pipelines.scoring import scoring_settings
    from polystilts.analysis.cells import PLAIN
    from polystilts.analysis.studies.retrieval import staged
    from polystilts.runtime.folders import read_json, write_json
    from polystilts.training.checkpoint import open_checkpoint

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for file in files:
        spec = get_task(file.target)
        if spec.metric != "retrieval" or file.option != PLAIN:
            continue
        job = jobs[file.base, file.option, file.seed]
        checkpoint = open_checkpoint(file.checkpoint)
        settings, fixed = scoring_settings(job, spec, checkpoint)
        assert fixed is not None
        place = job.output / "layers" / f"{file.bank.stem}.json"
        if not place.is_file():
            job.say(f"  layers of {spec.name} from {file.recipe}, seed {file.seed}")
            model = staged(_vectors(job, spec, checkpoint, settings), fixed=fixed)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, model.to_json())
        group = {"base": base_name(file.base), "target": file.target, "fixed": fixed, "models": {}}
        models = found.setdefault((file.base, file.target), group)["models"]
        own = models.setdefault(file.recipe, {})
        # One model has no seeds: a target that is not trained, from the base.
        if file.recipe != "baseline" or not own or spec.train_task:
            own[str(file.seed)] = read_json(place)
    return [group for group in found.values() if len(group["models"]) > 1 and "baseline" in group["models"]]


def _vectors(job: Job, spec: TaskSpec, checkpoint: Checkpoint, settings: FormatSettings) -> dict[str, Embedded]:
    """Mean-pooled vectors of all layers, by language; English is the query side."""
    import numpy as np

    from pipelines.scoring import predictor_of, rows_of
    from polystilts.analysis.studies.retrieval import Embedded
    from polystilts.formats.values import SentenceExample, SentencePair, SentencePrediction

    predictor = predictor_of(job, checkpoint, settings)

    def embedded(texts: list[SentenceExample]) -> Any:
        answers = [answer for answer in predictor.predict(texts) if isinstance(answer, SentencePrediction)]
        return np.stack([answer.embeddings for answer in answers], axis=1).astype(np.float32)

    found = {}
    for language, rows in rows_of(job, spec).rows.items():
        pairs = [(role, row) for role, row in rows if isinstance(row, SentencePair)]
        found[language] = Embedded(
            tuple(row.id for _, row in pairs),
            embedded([SentenceExample(row.id, "en", row.query, query=True) for _, row in pairs]),
            embedded([SentenceExample(row.id, row.language, row.candidate) for _, row in pairs]),
            np.arange(len(pairs)),
            np.array([role == "choice" for role, _ in pairs]),
        )
    return found


def _trivial(job: Job, folder: Path) -> dict[str, str]:
    """Banks of the trivial baselines, written into the study's folder."""
    from pipelines.scoring import trivial_rows
    from polystilts.metrics.bank import write_bank

    places = {}
    for spec in job.targets:
        bank = folder / f"trivial-{spec.name}.parquet"
        write_bank(bank, trivial_rows(job, spec))
        places[spec.name] = bank.relative_to(job.output).as_posix()
    return places


def _task_sizes(job: Job, recipes: Sequence[str]) -> dict[str, int]:
    """Training rows of every single intermediate task, as they were trained on."""
    from polystilts.data.roles import training_rows

    most = job.preset.recipe.rows
    found = {}
    for recipe in recipes:
        parts = parse_recipe(recipe).parts
        if len(parts) == 1 and parts[0].kind == "task":
            count = len(training_rows(job.source, job.task(parts[0].task)))
            found[recipe] = min(count, most) if most else count
    return found


def _texts(files: Sequence[CellFile]) -> dict[str, Any]:
    """How much text of each language the first base has read, as far as it is known."""
    from pipelines.provenance import root_of
    from polystilts.training.checkpoint import open_checkpoint

    root = root_of(open_checkpoint(files[0].checkpoint).lineage)
    if sizes := root.get("text_sizes"):
        return {"sizes": dict(sizes), "size_unit": "of English"}
    if known := pretraining_sizes(Path(files[0].base)):
        return {"sizes": known, "size_unit": "tokens"}
    return {"cc100": True} if any(name in files[0].base.lower() for name in ("xlm-r", "xlmr")) else {}


def _fertility(job: Job, file: CellFile) -> dict[str, float]:
    """Pieces for every word by language, over the sentences of some choice rows of the targets."""
    from collections import Counter

    from pipelines.scoring import rows_of
    from polystilts.formats import Pieces
    from polystilts.formats.words import split

    pieces = Pieces.open(file.checkpoint)
    counts: dict[str, Counter[str]] = {}
    for spec in job.targets:
        for row in rows_of(job, spec).examples(FERTILITY_ROWS):
            texts = [getattr(row, name) for name in TEXTS if hasattr(row, name)]
            texts += [" ".join(row.tokens)] if hasattr(row, "tokens") else []
            own = counts.setdefault(row.language, Counter())
            own["words"] += sum(len(split(text)) for text in texts)
            own["pieces"] += sum(len(found.ids) for found in pieces.encode(texts))
    return {language: own["pieces"] / own["words"] for language, own in counts.items() if own["words"]}


def _setting(parameters: Study, arms: Sequence[Arm], files: Sequence[CellFile]) -> tuple[tuple[str, str], ...]:
    from pipelines.cli import ROOT, commit_of
    from pipelines.scoring import kept_checkpoints
    from polystilts import __version__
    from polystilts.training.checkpoint import open_checkpoint

    kept = kept_checkpoints((get_task(file.target), open_checkpoint(file.checkpoint)) for file in files)
    bases = dict.fromkeys(base_name(arm.base, arm.option.name) for arm in arms)
    preset = arms[0].job.preset
    amount = f"{preset.recipe.updates} updates" if preset.recipe.updates else "as many updates as its epochs have"
    return (
        ("preset", parameters.preset),
        ("protocol", preset.protocol),
        ("kept of every training", ", ".join(kept) or "nothing was trained on a target"),
        ("bases", "; ".join(bases)),
        ("intermediate training", f"{amount}, {preset.recipe.rows or 'all'} rows of each task"),
        ("knobs changed", parameters.knobs or "none"),
        ("version", f"{__version__} {commit_of(ROOT)[:12]}".strip()),
    )


def _runs(files: Sequence[CellFile], failed: Mapping[str, Any], tracker: Tracker, started: float) -> list[RunLine]:
    """Every phase once; those that an earlier command ran are called reused."""
    from mlflow.exceptions import MlflowException

    from polystilts.analysis.report import RunLine

    found: dict[str, RunLine] = {}
    for file in files:
        for one in file.runs:
            name = f"{one.phase} {one.name}" if one.phase != "evaluate" else f"evaluate {one.name} from {file.recipe}"
            key = one.run_id or f"{name} {file.seed}"
            if key in found:
                continue
            begun = 0.0
            with contextlib.suppress(MlflowException):  # a run of another store
                begun = tracker.client.get_run(one.run_id).info.start_time / 1000 if one.run_id else 0.0
            state = "finished" if begun >= started else "reused"
            seed = None if one.phase == "pretrain" else file.seed
            found[key] = RunLine(name, seed, state, one.seconds, one.run_id)
    broken = [RunLine(one["phase"], one.get("seed"), "failed") for one in failed["failed"]]
    return [*found.values(), *broken]


def _data(files: Sequence[CellFile]) -> list[DataLine]:
    """What was scored and trained on, by its fingerprint."""
    from polystilts.analysis.report import DataLine
    from polystilts.metrics.bank import read_bank

    found: dict[str, DataLine] = {}
    for file in files:
        if file.target not in found:
            licence, count = get_task(file.target).licence, len(read_bank(file.bank))
            found[file.target] = DataLine(f"{file.target} (scored)", digest_of(file.data)[:16], count, licence)
        for name, revision in file.trained_on.items():
            licence = get_task(name).licence if name in TASKS else ""
            found[f"train {name}"] = DataLine(f"{name} (trained on)", revision[:16], None, licence)
    return list(found.values())


def _command(parameters: Study) -> str:
    given = parameters.model_dump(mode="json", exclude_defaults=True)
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return shlex.join(["python", "-m", "pipelines.study", *words])


if __name__ == "__main__":
    command(Study, run, examples=EXAMPLES)
