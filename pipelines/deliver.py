"""Entry point `deliver`: champions from the registry into the models folder that a server reads."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import Field

from pipelines.cli import ROOT, Parameters, command
from polystilts.errors import NoModel

EXAMPLES = """\
  python -m pipelines.deliver
  python -m pipelines.deliver --targets xnli,xquad --models /srv/models"""


class Deliver(Parameters):
    """Downloads each target's champion, verifies it, and makes it the current bundle of the models folder."""

    targets: str = Field("", description="separated by ','; '' = every target that has a champion")
    models: str = Field("outputs/models", description="the models folder")


def run(parameters: Deliver) -> None:
    from polystilts.tracking.reach import check_tracker

    uri = os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlflow.db'}")
    check_tracker(uri)
    from polystilts.runtime.models_folder import deliver
    from polystilts.tracking import registry

    targets = [name.strip() for name in parameters.targets.split(",") if name.strip()] or registry.champions()
    if not targets:
        raise NoModel("the registry has no champions; make some with: make quickstart", param="targets")
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="polystilts-") as folder:
            registered, bundle = registry.champion(target, Path(folder))
            deliver(bundle, ROOT / parameters.models, name=registered.name, version=registered.version)
            print(f"{target}: {registered.name} version {registered.version}, {bundle.digest[:16]}")


if __name__ == "__main__":
    command(Deliver, run, examples=EXAMPLES)
