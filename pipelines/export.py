"""Entry point `export`: a checkpoint to an ONNX bundle, with parity and self-test; smaller where it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipelines.checkpoint_job import CheckpointParameters, run_checkpoint
from pipelines.cli import ROOT, command
from pipelines.job import Job, names
from polystilts.errors import MissingData, PolystiltsError
from polystilts.tasks.languages import get_language

if TYPE_CHECKING:
    from pipelines.phases import Cell
    from polystilts.formats.values import Row
    from polystilts.runtime.bundle import Bundle

EXAMPLES = """\
  python -m pipelines.export --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef
  python -m pipelines.export --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef --precision fp32
  python -m pipelines.export --target tatoeba --languages en,de,sw
  python -m pipelines.export --target tatoeba --vocab-from texts.txt"""


class Export(CheckpointParameters):
    """Exports a checkpoint to a bundle and prints its folder.

    Give the checkpoint as `--base`; a target that needs no training (tatoeba) takes any encoder. int8 is tried in
    several ways until its loss on choice rows keeps the preset's limits; if none does, the bundle is in fp32. A trimmed
    vocabulary answers as the whole one to texts of the pieces it keeps; of other words it sees characters, or <unk>.
    """

    precision: Literal["", "fp32", "int8", "fp16"] = Field("", description="'' takes the preset's; fp16 is for GPUs")
    languages: str = Field("", description="keep only the pieces that the source's rows in these languages use")
    vocab_from: str = Field("", description="keep only the pieces that this text file uses, one text a line")

    def problems(self) -> Sequence[PolystiltsError]:
        found = list(super().problems())
        for code in names(self.languages):
            try:
                get_language(code, param="--languages")
            except PolystiltsError as error:
                found.append(error)
        if self.vocab_from and not (ROOT / self.vocab_from).is_file():
            found.append(MissingData(f"no file {ROOT / self.vocab_from}", param="--vocab-from", given=self.vocab_from))
        return found


def run(parameters: Export) -> None:
    def export(job: Job, cell: Cell) -> None:
        from pipelines import promotion
        from polystilts.export.quantise import fp16

        bundle = promotion.export_cell(job, cell)
        precision = parameters.precision or job.preset.export.precision
        if precision == "int8":
            bundle, report = promotion.quantised(job, cell, bundle)
            job.say(f"  {promotion.quantisation_message(report)}")
        elif precision == "fp16":
            place = bundle.folder.with_name(f"{bundle.folder.name}-fp16")
            bundle = _found(place) or fp16(bundle, place)
        if parameters.languages or parameters.vocab_from:
            bundle = _trimmed(job, cell, bundle, names(parameters.languages), parameters.vocab_from)
        print(bundle.folder)

    run_checkpoint("export", parameters, export)


def _trimmed(job: Job, cell: Cell, bundle: Bundle, languages: Sequence[str], file: str) -> Bundle:
    from polystilts.export.trim import trim, used_pieces
    from polystilts.runtime.folders import digest_of

    keep = used_pieces(bundle.folder, _texts(job, cell, languages, file))
    place = bundle.folder.with_name(f"{bundle.folder.name}-trimmed-{digest_of(sorted(keep))[:8]}")
    small = _found(place) or trim(bundle, place, keep=keep)
    sizes = [sum(path.stat().st_size for path in b.folder.iterdir()) / 1e6 for b in (bundle, small)]
    job.say(f"  {len(keep)} pieces are used; {sizes[0]:.1f} MB became {sizes[1]:.1f}")
    return small


def _texts(job: Job, cell: Cell, languages: Sequence[str], file: str) -> Iterator[str]:
    """Lines of the file, and every text of the preset's targets and their training tasks in these languages.

    Raises:
        MissingData: the source has no rows in one of the languages.
    """
    from pipelines.job import training_stages
    from polystilts.tasks import get_task

    if file:
        with Path(ROOT / file).open(encoding="utf-8") as lines:
            yield from (line.rstrip("\n") for line in lines)
    targets = [cell.spec, *(get_task(name) for name in names(job.preset.targets))]
    specs = {spec.name: spec for target in targets for spec in (target, *map(get_task, training_stages(target)))}
    for language in languages:
        found = False
        for spec in specs.values():
            for split in ("train", "validation", "test"):
                if language in job.source.languages(spec, split):
                    found = True
                    for row in job.source.rows(spec, split, language):
                        yield from _texts_of(row)
        if not found:
            raise MissingData(f"{job.source.name} has no rows in {language!r}", param="--languages", given=language)


def _texts_of(row: Row) -> Iterator[str]:
    """Everything in a row that a model reads; words joined by blanks."""
    for name in ("premise", "hypothesis", "question", "context", "query", "candidate", "text"):
        if isinstance(value := getattr(row, name, None), str):
            yield value
    yield from getattr(row, "choices", ())
    if tokens := getattr(row, "tokens", ()):
        yield " ".join(tokens)


def _found(place: Path) -> Bundle | None:
    from polystilts.runtime.bundle import open_bundle

    return open_bundle(place) if place.is_dir() else None


if __name__ == "__main__":
    command(Export, run, examples=EXAMPLES)
