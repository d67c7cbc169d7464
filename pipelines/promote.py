"""Entry point `promote`: from finished candidates to a champion, by choice rows, statistics and gates."""

from __future__ import annotations

import os
from collections.abc import Sequence

from pydantic import Field

from pipelines.cli import ROOT, command
from pipelines.job import NONE, Job, JobParameters, missing_rows, names
from polystilts.errors import GateClosed, InvalidValue, MissingData, NoModel, PolystiltsError, UnknownName
from polystilts.tasks import TASKS

EXAMPLES = """\
  python -m pipelines.promote --target xnli
  python -m pipelines.promote --all --dry-run
  python -m pipelines.promote --target xnli --base outputs/checkpoints/target-mnli-0123456789abcdef --strict
  python -m pipelines.promote --target xnli --rollback"""


class Promote(JobParameters):
    """Compares a target's finished candidates on choice rows, as their exported bundles answer, and makes the best the
    champion unless a gate is shut; then it ends with an error that says which, and the champion stays.

    Candidates are the finished checkpoints in OUTPUT of the same source and base: recipes, whose seeds are replicates.
    A checkpoint given as `--base` is the only candidate.
    """

    target: str = Field("", description="targets, separated by ','")
    all: bool = Field(False, description="every target with finished candidates")
    dry_run: bool = Field(False, description="decide and print; export and score, but write nothing to the registry")
    strict: bool = Field(False, description="refuse also where the rows cannot tell whether a language is worse")
    rollback: bool = Field(False, description="back to the champion before the present one")

    grid_options = (NONE, "--target")

    def tasks_asked(self) -> tuple[str, str]:
        return NONE, self.target or NONE

    def problems(self) -> Sequence[PolystiltsError]:
        # Going back needs the registry alone, not the rows.
        found = self._unknown_targets() if self.rollback else list(super().problems())
        if bool(self.target) == self.all:
            found.append(InvalidValue("give either --target or --all", param="--target", given=self.target))
        if self.rollback and (self.all or self.dry_run):
            found.append(InvalidValue("--rollback goes with --target alone", param="--rollback", given=True))
        return found

    def _unknown_targets(self) -> list[PolystiltsError]:
        return [UnknownName("task", name, TASKS, param="--target") for name in names(self.target) if name not in TASKS]


def run(parameters: Promote) -> None:
    if parameters.rollback:
        _roll_back(names(parameters.target))
        return
    job = Job.open(parameters)
    tracker = job.tracker

    from pipelines import phases, promotion
    from pipelines.job import training_stages
    from polystilts.analysis.decision import READING

    with phases.whole(job, tracker, "promote", parameters):
        base = phases.base_checkpoint(job)
        # A checkpoint trained here that was given by hand is the only candidate.
        given = base.lineage["phase"] in ("intermediate", "target")
        stages = phases.stages_of(base.lineage)
        outcomes = []
        for spec in job.targets or [spec for spec in TASKS.values() if spec.is_target]:
            if parameters.all and missing_rows(job.source, (), [spec], parameters.grid_options):
                continue
            if parameters.all and given and stages != training_stages(spec):
                continue
            checkpoints = [base] if given else promotion.finished_checkpoints(job, spec)
            if parameters.all and not checkpoints:
                continue
            if not checkpoints:
                raise MissingData(
                    f"no finished candidates of {spec.name} in {phases.shown(job.output)}; make some with: "
                    f"mlflow run . --env-manager local -P targets={spec.name}",
                    param="--target",
                    given=spec.name,
                )
            cells = [phases.score_checkpoint(job, spec, checkpoint) for checkpoint in checkpoints]
            outcome = promotion.promote(job, spec, cells, strict=parameters.strict, dry_run=parameters.dry_run)
            promotion.say_outcome(job, outcome)
            outcomes.append(outcome)
        if not outcomes:
            raise MissingData(f"no finished candidates in {phases.shown(job.output)}", param="--all")
    job.say(f"\n{READING}")
    refused = [f"{o.decision.target}: {gate.name}: {gate.message}" for o in outcomes for gate in o.refused]
    if refused:
        raise GateClosed("\n  - ".join(["promotion refused; the champion stays as it was", *refused]))


def _roll_back(targets: Sequence[str]) -> None:
    from polystilts.tracking.reach import check_tracker

    check_tracker(os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlflow.db'}"))
    from polystilts.tracking import promotion, registry

    named = {target: registry.model_name(target) for target in targets}
    stuck = [name for name in named.values() if not promotion.earlier_champions(name)]
    if stuck:
        raise NoModel(f"no earlier champion of {', '.join(stuck)}; nothing was changed", param="--target")
    for name in named.values():
        before, after = promotion.rollback(name)
        print(f"{name}: champion is version {after} again, not {before}; run deliver to serve it")


if __name__ == "__main__":
    command(Promote, run, examples=EXAMPLES)
