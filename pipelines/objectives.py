"""From a plan to what the loop trains on: encoded rows, models over one encoder, the objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from pipelines.job import Job
from pipelines.preset import TrainingKnobs
from pipelines.recipes import Plan, TaskPart, TextPart
from polystilts.data.noise import NoiseSettings
from polystilts.data.noise.rows import KIND_SETS, noised_share
from polystilts.data.roles import checkpoint_rows, hash_of
from polystilts.data.roles import training_rows as english_rows
from polystilts.data.shuffled import shuffled
from polystilts.data.training_sets import fewer
from polystilts.evaluation import score_rows, settings_for
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.values import Row
from polystilts.runtime.folders import digest_of
from polystilts.runtime.predictor import Predictor
from polystilts.tasks import TaskSpec
from polystilts.training.checkpoint import Checkpoint
from polystilts.training.loop import TrainingSettings
from polystilts.training.masking import MLM, MaskedText, MaskingSettings, mask_id_of, text_rows
from polystilts.training.model import (
    TorchBackend,
    bare_encoder,
    build_for,
    build_model,
    has_lm_head,
    read_config,
    share_encoder,
    with_pooler,
)
from polystilts.training.objective import (
    Interleaved,
    Mixture,
    Objective,
    Sampling,
    TaskRows,
    TrainingRow,
    share_of,
    training_rows,
)


@dataclass(frozen=True)
class Trained:
    """One task's part of a training phase, encoded.

    Attributes:
        name, head: of the part, see `TaskPart`.
        examples: data set -> language -> number of examples.
    """

    name: str
    head: str
    spec: TaskSpec
    settings: FormatSettings
    rows: list[TrainingRow]
    examples: dict[str, dict[str, int]]
    checkpoint_rows: list[Row]

    @property
    def languages(self) -> Counter[str]:
        """Language -> examples, over all data sets, in the order of the rows."""
        return sum((Counter(sets) for sets in self.examples.values()), Counter[str]())

    def lineage(self, part: TaskPart, data: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
        """One entry for each data set.

        Args:
            data: part -> data set -> fingerprint.
        """
        return [
            {
                "name": spec.name,
                "part": part.name,
                "task": part.task.name,
                "languages": self.examples[spec.name],
                "rows": sum(self.examples[spec.name].values()),
                "licence": spec.licence,
                "data": data[part.name][spec.name],
            }
            for spec in part.sets
        ]


def prepare(job: Job, part: TaskPart, parent: Checkpoint, phase: str, *, encode: bool = True) -> Trained:
    """The rows of a part.

    Args:
        encode: else they are counted and stay empty, as many as examples.
    """
    settings = settings_of(job, part.task, parent)
    most = job.preset.recipe.rows if phase == "intermediate" else 0
    examples: dict[str, dict[str, list[Row]]] = {}
    for spec in part.sets:
        by_language = examples.setdefault(spec.name, {})
        for row in english_rows(job.source, spec):
            by_language.setdefault(row.language, []).append(row)
    if most:
        examples = {name: {lang: fewer(own, most) for lang, own in sets.items()} for name, sets in examples.items()}
    everything = [row for sets in examples.values() for own in sets.values() for row in own]
    rows: list[TrainingRow]
    if encode:
        format_ = make_format(Pieces.open(parent.folder), settings)
        labelled = shuffled(everything, job.seed) if part.shuffled else everything
        knobs = job.knobs(part.task.name)
        noise = NoiseSettings(knobs.noise_rate, KIND_SETS[knobs.noise_kinds], job.seed)
        rows = training_rows(format_, noised_share(labelled, noise, share=knobs.noise_share)[0])
    else:
        rows = [TrainingRow((), (), row.language) for row in everything]
    scored = checkpoint_rows(job.source, part.task) if encode else []
    return Trained(
        name=part.name,
        head=part.head,
        spec=part.task,
        settings=settings,
        rows=rows,
        examples={name: {lang: len(own) for lang, own in sets.items()} for name, sets in examples.items()},
        checkpoint_rows=_limited(scored, job.preset.evaluation.checkpoint_limit),
    )


def selection_of(plan: Plan, shared: TrainingKnobs) -> str:
    if any(part.shuffled for part in plan.tasks) or not plan.tasks:
        # Scores of a task that was not taught, and no scores, choose nothing.
        return "last"
    return shared.selection or (plan.tasks[0].task.selection if len(plan.tasks) == 1 else "best")


def models_of(job: Job, prepared: Sequence[Trained], with_text: bool, parent: Checkpoint) -> dict[str, PreTrainedModel]:
    """A model for every part, over one encoder; parts of one task share their head."""
    models: dict[str, PreTrainedModel] = {}
    heads: dict[str, PreTrainedModel] = {}
    # The LM head comes first because it may be tied to the embeddings that all share.
    if with_text:
        models[MLM] = build_model("mlm", parent.folder, seed=job.seed)
        if not has_lm_head(parent.folder):
            job.say(f"  {parent.folder.name} has no LM head: a new one is trained")
    for i, part in enumerate(prepared):
        if part.head not in heads:
            heads[part.head] = build_for(part.settings, parent.folder, seed=job.seed + i)
        models[part.name] = heads[part.head]
    share_encoder(list(models.values()), pooler=job.preset.recipe.transfer == "encoder+pooler")
    return models


def objective_of(
    job: Job, phase: str, plan: Plan, prepared: Sequence[Trained], parent: Checkpoint, shared: TrainingKnobs
) -> Mixture | MaskedText | Interleaved:
    """Tasks, text, or text among tasks, with as many updates as the recipe is to have."""
    pieces = Pieces.open(parent.folder)
    sampling = Sampling(job.preset.recipe.examples_cap, job.preset.recipe.temperature)
    of_tasks, of_text = _amounts(job, phase, plan, prepared, parent)
    amount = {"pad": pieces.pad, "seed": job.seed, "max_tokens": shared.max_tokens, "overhead": shared.call_overhead}
    tasks = [_task_rows(job, part) for part in prepared]
    mixture = Mixture(tasks, sampling=sampling, updates=of_tasks, **amount) if tasks else None
    if not plan.text:
        assert mixture is not None
        return mixture
    mlm = job.preset.mlm
    limit = min(mlm.max_length, row_limit(job, parent))
    documents = {language: plan.text.text.documents(language) for language in plan.text.languages}
    text = MaskedText(
        {language: text_rows(pieces, own, limit) for language, own in documents.items()},
        MaskingSettings(mlm.mask_rate, mlm.exponent, mlm.batch_size, mlm.epochs, limit),
        mask_id=mask_id_of(parent.folder),
        updates=of_text,
        **amount,
    )
    return Interleaved(mixture, text, seed=job.seed) if mixture else text


def expected_updates(job: Job, phase: str, plan: Plan, parent: Checkpoint) -> int:
    """The updates of a phase, from numbers of examples and documents.

    Long ones that become several rows are not known before they are encoded, so it may have more.
    """
    prepared = [prepare(job, part, parent, phase, encode=False) for part in plan.tasks]
    of_tasks, of_text = _amounts(job, phase, plan, prepared, parent, encode=False)
    if plan.text and not of_text:
        mlm, text = job.preset.mlm, plan.text.text
        count = sum(len(text.documents(language)) for language in plan.text.languages)
        of_text = max(1, round(mlm.epochs * -(-count // mlm.batch_size)))
    return of_tasks + of_text


def _amounts(
    job: Job, phase: str, plan: Plan, prepared: Sequence[Trained], parent: Checkpoint, *, encode: bool = True
) -> tuple[int, int]:
    """Updates of a phase's tasks and of its text; the text's 0 = as many as its epochs have."""
    alike = _updates(job, phase, plan, prepared, parent, encode)
    if not prepared:
        return 0, alike
    cap, share = job.preset.recipe.examples_cap, job.preset.mlm.share
    if not plan.text:
        return alike or sum(_task_rows(job, part).updates_within(cap) for part in prepared), 0
    if alike:
        # Of a number that is given the text has its share; else it is added to what the tasks have alone.
        own = max(1, alike - round(alike * share))
        return own, max(1, alike - own)
    own = sum(_task_rows(job, part).updates_within(cap) for part in prepared)
    return own, max(1, share_of(own, share))


def _updates(job: Job, phase: str, plan: Plan, prepared: Sequence[Trained], parent: Checkpoint, encode: bool) -> int:
    """Updates that a phase has instead of those of its own epochs; 0 = those."""
    if phase == "target":
        return _matching_updates(job, prepared)
    if job.preset.recipe.updates or not plan.updates_of:
        return job.preset.recipe.updates
    controlled = [prepare(job, part, parent, phase, encode=encode) for part in plan.updates_of]
    return sum(_task_rows(job, part).updates_within(job.preset.recipe.examples_cap) for part in controlled)


def _matching_updates(job: Job, prepared: Sequence[Trained]) -> int:
    """Updates of a target in several languages: those of the first alone, or 0 where each row is seen as often."""
    [part] = prepared
    if len(part.languages) < 2 or job.preset.target.match == "passes":
        return 0
    first = next(iter(part.languages))
    return replace(_task_rows(job, part), rows=[row for row in part.rows if row.language == first]).updates


def tasks_of(objective: Objective) -> Mixture | None:
    """The part of an objective that is tasks."""
    found = objective.objectives[0] if isinstance(objective, Interleaved) else objective
    return found if isinstance(found, Mixture) else None


def _task_rows(job: Job, part: Trained) -> TaskRows:
    knobs = job.knobs(part.spec.name)
    return TaskRows(part.name, part.settings, part.rows, knobs.epochs, knobs.batch_size, part.spec.micro_batch_rows)


def kept_of(job: Job, phase: str, models: Mapping[str, PreTrainedModel]) -> tuple[PreTrainedModel, str]:
    """What travels to the next phase, and its name."""
    if phase == "target":
        return next(iter(models.values())), "encoder"
    if MLM in models:
        return models[MLM], "encoder+lm_head"
    if job.preset.recipe.transfer == "encoder+pooler" and (model := with_pooler(list(models.values()))) is not None:
        return bare_encoder(model, pooler=True), "encoder+pooler"
    return bare_encoder(next(iter(models.values()))), "encoder"


def text_lineage(part: TextPart, fingerprints: Mapping[str, str], objective: Objective) -> dict[str, Any]:
    text = objective.objectives[1] if isinstance(objective, Interleaved) else objective
    assert isinstance(text, MaskedText)
    return {
        "name": part.text.name,
        "languages": {language: len(rows) for language, rows in text.rows.items()},
        "updates": text.total_updates,
        "data": digest_of(dict(fingerprints)),
    }


def _limited(rows: list[Row], limit: int) -> list[Row]:
    if not limit or len(rows) <= limit:
        return rows
    return sorted(rows, key=lambda row: (hash_of(row.id, "checkpoint limit"), row.id))[:limit]


def settings_of(job: Job, task: TaskSpec, parent: Checkpoint) -> FormatSettings:
    """How a task's rows are encoded in its training: as long as the task or its knobs say, where the encoder can."""
    own = job.knobs(task.name).max_length
    return settings_for(replace(task, max_length=own) if own else task, max_length=row_limit(job, parent))


def row_limit(job: Job, parent: Checkpoint) -> int:
    """Rows fit the preset's limit and the encoder's positions (XLM-R starts counting behind the padding id)."""
    config = read_config(parent.folder)
    positions = int(config.max_position_embeddings) - int(config.pad_token_id or 0) - 1
    return min(positions, job.preset.max_length or positions)


def loop_settings(knobs: TrainingKnobs, *, selection: str, seed: int, lm_head_rate: float) -> TrainingSettings:
    names = set(TrainingSettings.__dataclass_fields__) & set(TrainingKnobs.model_fields)
    values = {name: getattr(knobs, name) for name in names - {"selection"}}
    return TrainingSettings(**values, selection=selection, seed=seed, lm_head_rate=lm_head_rate)


def evaluator(job: Job, prepared: Sequence[Trained], pieces: Pieces) -> Callable[[nn.Module], dict[str, float]]:
    """Every part's main metric on the English checkpoint rows of its task."""

    def evaluate_all(module: nn.Module) -> dict[str, float]:
        scores = {}
        for part in prepared:
            model: PreTrainedModel = module[part.name]  # type: ignore[index]
            predictor = Predictor(
                make_format(pieces, part.settings),
                TorchBackend(model, part.settings),
                max_tokens=job.preset.evaluation.max_tokens,
            )
            scores[part.name] = score_rows(predictor, part.spec, part.checkpoint_rows, "en")
        return scores

    return evaluate_all
