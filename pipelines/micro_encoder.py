"""The micro world's encoder: its last updates as a phase of every micro job, all of them by `make micro-encoder`."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.cli import ROOT
from polystilts.runtime.folders import digest_of, read_json, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from pipelines.job import Job
    from polystilts.training.checkpoint import Checkpoint
    from polystilts.training.loop import Recorder, TrainingSettings
    from polystilts.training.pretrain import PretrainingObjective, PretrainingSettings

#: Share of the updates that the committed encoder has behind it.
COMMITTED_SHARE = 0.9
SEED = 0
RECORD = "pretraining.json"


def committed_folder() -> Path:
    """Where the committed encoder stands in the package."""
    import polystilts.data.micro

    return Path(polystilts.data.micro.__file__).parent / "encoder"


def micro_encoder(job: Job) -> Checkpoint:
    """The committed encoder with its last pretraining updates made here; found again by digest."""
    from pipelines.phases import commit_of, log_checkpoint, shown
    from polystilts import __version__
    from polystilts.training.checkpoint import code_digest, open_checkpoint, write_checkpoint
    from polystilts.training.model import bare_encoder, build_model

    committed = committed_folder()
    record, settings, objective = _committed()
    key = digest_of(
        {"phase": "pretrain", "committed": open_checkpoint(committed).weights, **record, "code": code_digest()}
    )
    place = job.output / "checkpoints" / f"pretrain-micro-{key[:16]}"
    if place.is_dir():
        job.say(f"  pretrain micro: done before, found in {shown(place)}")
        return open_checkpoint(place)

    from polystilts.tracking.runs import RunRecorder
    from polystilts.training.loop import train

    model = build_model("mlm", committed)
    first = int(record["updates_done"])
    state = job.output / "unfinished" / key
    parameters = {"source": "micro", "first_update": first, **dataclasses.asdict(settings)}
    with job.tracker.run("pretrain", "pretrain/micro", key, parameters) as run:
        train(
            model,
            objective,
            _training(settings, save_seconds=job.preset.training.save_seconds),
            state_folder=state,
            recorder=RunRecorder(job.console),
            description=f"pretrain micro (updates {first}-{settings.updates})",
            first_step=first,
        )
        checkpoint = write_checkpoint(
            place,
            bare_encoder(model),
            tokenizer_from=committed,
            key=key,
            lineage={
                "phase": "pretrain",
                "name": "micro",
                "world_digest": record["world_digest"],
                "updates": settings.updates,
                "seed": SEED,
                "version": __version__,
                "commit": commit_of(ROOT),
                "run_id": run.info.run_id,
            },
        )
        log_checkpoint(checkpoint, "pretrain-micro", run)
    shutil.rmtree(state, ignore_errors=True)
    job.say(f"  pretrain micro: the last {settings.updates - first} of {settings.updates} updates")
    return checkpoint


def continue_pretraining(folder: Path) -> Path:
    """The same encoder without a job and its records, into `folder`."""
    from polystilts.training.checkpoint import write_checkpoint
    from polystilts.training.loop import train
    from polystilts.training.model import bare_encoder, build_model

    record, settings, objective = _committed()
    model = build_model("mlm", committed_folder())
    first = int(record["updates_done"])
    train(model, objective, _training(settings, save_seconds=3600), state_folder=folder / "state", first_step=first)
    lineage = {"phase": "pretrain", "name": "micro"}
    place = folder / "encoder"
    write_checkpoint(place, bare_encoder(model), tokenizer_from=committed_folder(), key="", lineage=lineage)
    return place


def _committed() -> tuple[dict[str, Any], PretrainingSettings, PretrainingObjective]:
    """The committed encoder's record, its recipe, and the objective that goes on with it.

    Raises:
        ChecksumMismatch: the world has changed since.
    """
    from tokenizers import Tokenizer

    from polystilts.data.micro import MicroWorld
    from polystilts.errors import ChecksumMismatch
    from polystilts.training.pretrain import PretrainingSettings

    committed = committed_folder()
    record = read_json(committed / RECORD)
    if record["world_digest"] != MicroWorld().text_digest():
        raise ChecksumMismatch(
            "the micro world has changed since its encoder was pretrained; rebuild it with: make micro-encoder"
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record["settings"].items()}
    settings = PretrainingSettings(**values)
    return record, settings, _objective(Tokenizer.from_file(str(committed / "tokenizer.json")), settings)


def rebuild(recorder: Recorder | None = None, *, folder: Path | None = None) -> Path:
    """Pretrains the committed encoder anew from the lexicon: the first 90 % of the updates, stored as float16."""
    import tempfile

    from polystilts.data.micro.world import MicroWorld
    from polystilts.runtime.folders import new_folder
    from polystilts.training.loop import train
    from polystilts.training.pretrain import PretrainingSettings, new_encoder, train_tokenizer

    settings = PretrainingSettings()
    tokenizer = train_tokenizer(MicroWorld().vocabulary())
    model = new_encoder(tokenizer.get_vocab_size(), SEED)
    stop = round(COMMITTED_SHARE * settings.updates)
    with tempfile.TemporaryDirectory(prefix="polystilts-") as scratch:
        train(
            model,
            _objective(tokenizer, settings),
            _training(settings, save_seconds=3600),
            state_folder=Path(scratch),
            recorder=recorder,
            description="pretrain the micro encoder",
            stop_at=stop,
        )
    final = folder or committed_folder()
    if final.is_dir():
        shutil.rmtree(final)
    with new_folder(final) as temporary:
        model.half().save_pretrained(temporary)
        tokenizer.save(str(temporary / "tokenizer.json"))
        write_json(
            temporary / RECORD,
            {
                "world_digest": MicroWorld().text_digest(),
                "seed": SEED,
                "settings": dataclasses.asdict(settings),
                "updates_done": stop,
                "updates_left": settings.updates - stop,
                "weights": "float16; AdamW's moments are not kept",
            },
        )
    return final


def _objective(tokenizer: Tokenizer, settings: PretrainingSettings) -> PretrainingObjective:
    from polystilts.data.micro import LANGUAGES, MicroWorld
    from polystilts.training.pretrain import PretrainingObjective

    return PretrainingObjective(MicroWorld(), LANGUAGES, tokenizer, settings, SEED)


def _training(settings: PretrainingSettings, *, save_seconds: float) -> TrainingSettings:
    """The recipe's optimizer as the loop's settings."""
    from polystilts.training.loop import TrainingSettings

    return TrainingSettings(
        learning_rate=settings.learning_rate,
        warmup_share=settings.warmup / settings.updates,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.betas[1],
        clip=settings.clip,
        precision="fp32",
        selection="last",
        save_seconds=save_seconds,
        seed=SEED,
    )


if __name__ == "__main__":
    from rich.console import Console

    from polystilts.runtime.ort import usable_cores
    from polystilts.tracking.runs import RunRecorder

    import torch  # isort: skip

    torch.set_num_threads(usable_cores())
    torch.use_deterministic_algorithms(True, warn_only=True)
    print(rebuild(RunRecorder(Console())))
