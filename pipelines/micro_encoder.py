"""The micro world's encoder: its last updates as a phase of every micro job, all of them by `make micro-encoder`.

`micro:SIZE` is another size, for the question what size changes: pretrained whole as a phase, on the same text in the
same order with the same recipe, tokenizer and seed. `micro:graded` has read less and less of one language after the
other, and nothing of one, for the question what that changes.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.cli import ROOT
from polystilts.errors import UnknownName
from polystilts.runtime.folders import digest_of, read_json, write_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from pipelines.job import Job
    from polystilts.training.checkpoint import Checkpoint
    from polystilts.training.loop import Recorder, TrainingSettings
    from polystilts.training.pretrain import PretrainingObjective, PretrainingSettings

MICRO = "micro"

#: Width of the hidden states of each size; '' is the committed one's. Of each, the parameters of embeddings and layers:
#: 270,016, 834,944 and 2,849,536.
WIDTHS = {"small": 64, "": 128, "large": 256, "graded": 128}

#: What `micro:graded` reads of each language, as a share of English; families take turns, so that the amount is not the
#: family.
GRADED = {"en": 1.0, "de": 1.0, "zh": 1 / 2, "es": 1 / 4, "tr": 1 / 8, "ru": 1 / 16, "hi": 1 / 32, "sw": 0.0}

#: Fewer than the others have, so that the study ends within minutes.
GRADED_UPDATES = 600

#: Share of the updates that the committed encoder has behind it.
COMMITTED_SHARE = 0.9
SEED = 0
RECORD = "pretraining.json"


def committed_folder() -> Path:
    """Where the committed encoder stands in the package."""
    import polystilts.data.micro

    return Path(polystilts.data.micro.__file__).parent / "encoder"


def is_micro(base: str) -> bool:
    """Whether a base is the micro world's encoder, in whatever size."""
    return base.partition(":")[0] == MICRO


def width_of(base: str, *, param: str = "base") -> int:
    """Of the hidden states of ``micro`` or ``micro:SIZE``.

    Raises:
        UnknownName: no such size.
    """
    size = base.partition(":")[2]
    if size not in WIDTHS or base.endswith(":"):
        raise UnknownName("size of the micro encoder", size, [name for name in WIDTHS if name], param=param)
    return WIDTHS[size]


def micro_encoder(job: Job) -> Checkpoint:
    """The job's size of the encoder, with its LM head; found again by digest.

    The committed one has its last pretraining updates made here, any other size all of them.
    """
    from pipelines.phases import commit_of, log_checkpoint, shown
    from polystilts import __version__
    from polystilts.training.checkpoint import Checkpoint, code_digest, open_checkpoint, write_checkpoint
    from polystilts.training.model import build_model
    from polystilts.training.pretrain import new_encoder

    committed, width = committed_folder(), width_of(job.base)
    shares = GRADED if job.base == f"{MICRO}:graded" else None
    record, settings, objective = _committed(shares)
    whole = job.base != MICRO
    name, first = job.base.replace(":", "-"), 0 if whole else int(record["updates_done"])
    start = {"width": width} if whole else {"committed": open_checkpoint(committed).weights}
    graded = {"text_sizes": shares, "updates": settings.updates} if shares else {}
    key = digest_of({"phase": "pretrain", "head": "lm", **start, **graded, **record, "code": code_digest()})
    place = job.output / "checkpoints" / f"pretrain-{name}-{key[:16]}"
    vocabulary = objective.tokenizer.get_vocab_size()
    if job.graph is not None:
        from pipelines.planning import Node, found

        empty = new_encoder(vocabulary, SEED, width=width)
        there, size = place.is_dir(), sum(weight.numel() for weight in empty.roberta.parameters())
        todo = 0 if there else settings.updates - first
        job.graph.add(key, Node("pretrain", name, f"pretrain {job.base}", size, there, updates=todo))
        about = {"phase": "pretrain", "name": name, "seed": SEED, "parameters": size, "weights": f"planned:{key}"}
        return found(place) if there else Checkpoint(committed, key, about)
    if place.is_dir():
        job.say(f"  pretrain {job.base}: done before, found in {shown(place)}")
        return open_checkpoint(place)

    from polystilts.tracking.runs import RunRecorder
    from polystilts.training.loop import train

    model: Any = new_encoder(vocabulary, SEED, width=width) if whole else build_model("mlm", committed)
    state = job.output / "unfinished" / key
    parameters = {
        "source": "micro",
        "tasks": name,
        "first_update": first,
        "encoder_parameters": sum(weight.numel() for weight in model.roberta.parameters()),
        **dataclasses.asdict(settings),
        "updates": settings.updates - first,
    }
    with job.tracker.run("pretrain", f"pretrain/{name}", key, parameters) as run:
        train(
            model,
            objective,
            _training(settings, save_seconds=job.preset.training.save_seconds),
            state_folder=state,
            recorder=RunRecorder(job.console),
            description=f"pretrain {name} (updates {first}-{settings.updates})",
            first_step=first,
        )
        checkpoint = write_checkpoint(
            place,
            model,
            tokenizer_from=committed,
            key=key,
            lineage={
                "phase": "pretrain",
                "name": name,
                "world_digest": record["world_digest"],
                **graded,
                "transfer": "encoder+lm_head",
                "updates": settings.updates,
                "seed": SEED,
                "version": __version__,
                "commit": commit_of(ROOT),
                "run_id": run.info.run_id,
            },
        )
        log_checkpoint(checkpoint, f"pretrain-{name}", run)
    shutil.rmtree(state, ignore_errors=True)
    which = "all" if whole else f"the last {settings.updates - first} of"
    job.say(f"  pretrain {job.base}: {which} {settings.updates} updates")
    return checkpoint


def continue_pretraining(folder: Path) -> Path:
    """The same encoder without a job and its records, into `folder`."""
    from polystilts.training.checkpoint import write_checkpoint
    from polystilts.training.loop import train
    from polystilts.training.model import build_model

    record, settings, objective = _committed()
    model = build_model("mlm", committed_folder())
    first = int(record["updates_done"])
    train(model, objective, _training(settings, save_seconds=3600), state_folder=folder / "state", first_step=first)
    lineage = {"phase": "pretrain", "name": "micro"}
    place = folder / "encoder"
    write_checkpoint(place, model, tokenizer_from=committed_folder(), key="", lineage=lineage)
    return place


def _committed(
    shares: Mapping[str, float] | None = None,
) -> tuple[dict[str, Any], PretrainingSettings, PretrainingObjective]:
    """The committed encoder's record, its recipe, and the objective that goes on with it, or one with other shares of
    the languages.

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
    if shares:
        values["updates"] = GRADED_UPDATES
    settings = PretrainingSettings(**values)
    return record, settings, _objective(Tokenizer.from_file(str(committed / "tokenizer.json")), settings, shares)


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


def _objective(
    tokenizer: Tokenizer, settings: PretrainingSettings, shares: Mapping[str, float] | None = None
) -> PretrainingObjective:
    from polystilts.data.micro import LANGUAGES, MicroWorld
    from polystilts.training.pretrain import PretrainingObjective

    return PretrainingObjective(MicroWorld(), LANGUAGES, tokenizer, settings, SEED, shares)


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
