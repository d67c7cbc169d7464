"""Presets: every knob of a run in one commented YAML file, checked whole before anything loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.cli import ROOT, from_pydantic
from polystilts.errors import BadRow, InvalidValue, PolystiltsError, Problems, UnknownName
from polystilts.formats.batching import MICRO_BATCH_OVERHEAD

PRESETS = ROOT / "presets"

Benchmark = Literal["xtreme", "xtreme-r"]
BENCHMARKS: tuple[str, ...] = get_args(Benchmark)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskKnobs(_Settings):
    """What one training task may set for itself; None = the value of `training`."""

    epochs: float | None = Field(None, gt=0)
    learning_rate: float | None = Field(None, gt=0, le=0.1)
    batch_size: int | None = Field(None, ge=1)
    warmup_share: float | None = Field(None, ge=0, lt=1)
    warmup_updates: int | None = Field(None, ge=0)
    weight_decay: float | None = Field(None, ge=0)
    selection: Literal["best", "last"] | None = None
    evaluations: int | None = Field(None, ge=1)
    max_length: int | None = Field(None, ge=8)


class TrainingKnobs(_Settings):
    """Knobs of intermediate and target training (`TrainingSettings` says what each does)."""

    epochs: float = Field(3, gt=0)
    learning_rate: float = Field(1e-5, gt=0, le=0.1)
    batch_size: int = Field(32, ge=1)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    warmup_updates: int = Field(0, ge=0, description="in place of the share; 0 = the share")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    max_tokens: int = Field(2048, ge=16, description="padded tokens of a micro-batch")
    call_overhead: int = Field(
        MICRO_BATCH_OVERHEAD, ge=0, description="what a micro-batch costs beside its tokens, in tokens"
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    selection: Literal["", "best", "last"] = Field("", description="'' = as the task says")
    evaluations: int = Field(10, ge=1)
    patience: int = Field(0, ge=0)
    max_length: int = Field(0, ge=0, description="of a row in pieces, in place of the task's own; 0 = the task's")
    frozen: tuple[str, ...] = ()
    layer_decay: float = Field(1.0, gt=0, le=1, description="rate of a layer, as a share of that above; 1 = all alike")
    robust: Literal["", "adversarial", "smoothing"] = Field("", description="perturbed embeddings; '' = none")
    robust_radius: float = Field(0.1, gt=0, description="as a share of the tokens' mean length")
    noise_share: float = Field(0.0, ge=0, le=1, description="of the training rows that have typing mistakes")
    noise_rate: float = Field(0.1, gt=0, le=1, description="share of the words with a mistake in such a row")
    noise_kinds: Literal["all", "train", "held-out"] = Field("train", description="of mistakes")
    gradient_checkpointing: bool = False
    save_seconds: float = Field(60, gt=0)
    log_every: int = Field(10, ge=1)


class RecipeKnobs(_Settings):
    """What intermediate training alone has: amounts that every recipe has alike, sampling, and what travels on."""

    updates: int = Field(0, ge=0, description="of every recipe; 0 = as many as its epochs have")
    rows: int = Field(0, ge=0, description="training examples of each task and language at most; 0 = all")
    examples_cap: int = Field(0, ge=0, description="rows of a task that count for its sampling and epochs; 0 = all")
    temperature: float = Field(1.0, gt=0, description="of sampling: 1 = proportional, more = more alike")
    average: float = Field(0.0, ge=0, le=1, description="share of the base's weights in the finished encoder")
    transfer: Literal["encoder", "encoder+pooler"] = "encoder"


class MlmKnobs(_Settings):
    """Masked-language modelling, the parts `mlm` and `mlm-en` of a recipe (`MaskingSettings` says what each does)."""

    share: float = Field(0.2, gt=0, lt=1, description="of the updates, where it is mixed with tasks")
    exponent: float = Field(0.3, ge=0, le=1)
    mask_rate: float = Field(0.15, gt=0, lt=1)
    batch_size: int = Field(8, ge=1)
    epochs: float = Field(2, gt=0)
    max_length: int = Field(256, ge=8)
    head_rate: float = Field(1.0, gt=0, description="learning rate of the LM head, as a share of the encoder's")
    text: str = Field("", description="folder of files LANGUAGE.txt, one document a line; '' = the source's own")
    languages: tuple[str, ...] = Field((), description="of the text; () = all that there are")


class TargetKnobs(_Settings):
    """What the training of targets alone has."""

    languages: tuple[str, ...] = Field(("en",), min_length=1, description="trained in; the first sets the amount")
    match: Literal["updates", "passes"] = Field(
        "updates", description="several languages have the updates of the first alone, or see each row as often"
    )


class EvaluationKnobs(_Settings):
    limit: int = Field(0, ge=0, description="rows of each role a language at most; 0 = all")
    checkpoint_limit: int = Field(500, ge=0, description="checkpoint rows at most; 0 = all")
    max_tokens: int = Field(4096, ge=16, description="padded tokens of a call")
    retrieval_layer: int = Field(-1, ge=-1, description="-1 = 14 of 24, 8 of 12, else round(0.6 x depth)")


class ExportKnobs(_Settings):
    precision: Literal["int8", "fp32"] = Field("int8", description="of what is served, where int8 keeps its limits")


class GateKnobs(_Settings):
    """What a promotion allows (`polystilts.analysis.selection.Limits` says what each means)."""

    missing_languages: int = Field(0, ge=0, description="languages of the set that may lack rows")
    mean_loss: float = Field(0.5, ge=0)
    language_loss: float = Field(1.5, ge=0)
    low_resource_loss: float = Field(0.5, ge=0)
    quantisation_mean_loss: float = Field(0.5, ge=0)
    quantisation_language_loss: float = Field(1.5, ge=0)
    size_mb: float = Field(0, ge=0)
    latency_ms: float = Field(0, ge=0)
    commercial: bool = False


class Preset(_Settings):
    """A whole run."""

    description: str
    protocol: Literal["jiant", "xtreme", "own"] = Field(
        "own", description="whose hyper-parameters these are: those that differ are warm-up, decay, length, selection"
    )
    source: str
    base: str
    intermediate: str = ""
    targets: str
    submission: tuple[Benchmark, ...] = ()
    seed: int = Field(0, ge=0)
    max_length: int = Field(0, ge=0, description="rows no longer than this, whatever else is said; 0 = no limit")
    training: TrainingKnobs = TrainingKnobs()
    tasks: dict[str, TaskKnobs] = {}
    recipe: RecipeKnobs = RecipeKnobs()
    mlm: MlmKnobs = MlmKnobs()
    target: TargetKnobs = TargetKnobs()
    evaluation: EvaluationKnobs = EvaluationKnobs()
    export: ExportKnobs = ExportKnobs()
    gates: GateKnobs = GateKnobs()
    pretraining: dict[str, Any] = {}


def load_preset(name: str) -> Preset:
    """A preset by name (a file in presets/) or by path to a YAML file.

    Raises:
        UnknownName: neither.
        Problems: every key or value that is not allowed.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    path = path if path.is_absolute() else ROOT / path
    if not path.is_file():
        raise UnknownName("preset", name, [p.stem for p in PRESETS.glob("*.yaml")], param="--preset")
    try:
        return _checked(yaml.safe_load(path.read_text(encoding="utf-8")), f"{path.name}: ")
    except yaml.YAMLError as error:
        raise BadRow(str(path), f"not YAML: {error}") from None


def with_knobs(preset: Preset, text: str, *, param: str = "--knobs") -> Preset:
    """A preset with some knobs changed: ``recipe.updates=200 training.layer_decay=0.9 tasks.mnli.epochs=1``.

    Args:
        text: SECTION.KNOB=VALUE, spaces between; a value is YAML (``mlm.languages=[en,de]``).

    Raises:
        Problems: every one that is not of this form, unknown, or out of bounds.
    """
    values = preset.model_dump()
    wrong: list[PolystiltsError] = []
    for given in text.split():
        name, _, value = given.partition("=")
        *path, knob = name.split(".")
        place = values
        for step in path:
            place = place.setdefault(step, {}) if isinstance(place, dict) else {}
        try:
            found = yaml.safe_load(value)
        except yaml.YAMLError:
            found = None
        if found is None or not path or not isinstance(place, dict):
            message = f"{given!r} is not SECTION.KNOB=VALUE; sections: {', '.join(_SECTIONS)}"
            wrong.append(InvalidValue(message, param=param, given=given))
        else:
            place[knob] = found
    if wrong:
        raise Problems(wrong)
    return _checked(values, f"{param}: ")


def _checked(values: Any, where: str) -> Preset:
    try:
        return Preset(**values)
    except ValidationError as error:
        raise Problems([from_pydantic(d, where, known=_known(d["loc"])) for d in error.errors()]) from None


#: Sections of a preset and what each holds.
_SECTIONS: dict[str, type[_Settings]] = {
    "training": TrainingKnobs,
    "tasks": TaskKnobs,
    "recipe": RecipeKnobs,
    "mlm": MlmKnobs,
    "target": TargetKnobs,
    "evaluation": EvaluationKnobs,
    "export": ExportKnobs,
    "gates": GateKnobs,
}


def _known(place: tuple[int | str, ...]) -> list[str]:
    """Names that are allowed where a preset's unknown key stands."""
    section = _SECTIONS.get(str(place[0]), Preset) if len(place) > 1 else Preset
    return list(section.model_fields)
