"""A models folder and the server's code -> a bento."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import Field

from pipelines.cli import ROOT as PROJECT
from pipelines.cli import Parameters, command
from polystilts.errors import PolystiltsError
from polystilts.runtime.bundle import open_bundle
from polystilts.runtime.folders import digest_of, sha256, write_json
from polystilts.runtime.models_folder import CURRENT, read_current

NAME = "polystilts"

#: Nothing phones home from anything we start, unless a user says so.
NO_TRACKING = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "true"}


EXAMPLES = """\
  python -m pipelines.package
  python -m pipelines.package --models /srv/models --store /srv/bentos"""


class Package(Parameters):
    """Builds a bento of the server and the current bundles, and prints its tag."""

    models: str = Field("outputs/models", description="the models folder, as `deliver` fills it")
    store: str = Field("", description="bento store (BENTOML_HOME) to build into; '' = the user's")


class BuildFailed(PolystiltsError):
    """`bentoml build` failed."""

    code = "build_failed"


def bento_environment(home: Path | None) -> dict[str, str]:
    """The environment of a BentoML child process.

    Args:
        home: the bento store, BENTOML_HOME; None = the user's.
    """
    environment = {**NO_TRACKING, **os.environ}
    if home is not None:
        environment["BENTOML_HOME"] = str(home.absolute())
    return environment


def build_bento(models: Path, *, output: Path | None = None) -> str:
    """Builds a bento of the current bundles and returns its tag, ``polystilts:<version>``.

    The version is a digest of everything in the bento, so the same content is built once.

    Args:
        models: the models folder.
        output: the bento store (BENTOML_HOME) to build into; None = the user's.

    Raises:
        MissingData: no models there.
        ChecksumMismatch: a bundle was changed.
        BuildFailed: with BentoML's own last words.
    """
    environment = bento_environment(output)
    with tempfile.TemporaryDirectory(prefix="polystilts-bento-") as temporary:
        stage = Path(temporary)
        version = digest_of(_stage(models, stage))[:16]
        tag = f"{NAME}:{version}"
        if _bentoml(["get", tag], environment).returncode == 0:
            return tag
        built = _bentoml(
            ["build", "--bentofile", "serving/bentofile.yaml", "--version", version, str(stage)], environment
        )
    if built.returncode:
        raise BuildFailed(f"bentoml build failed: {(built.stderr or built.stdout).strip()[-2000:]}")
    return tag


def _stage(models: Path, stage: Path) -> Mapping[str, str]:
    """Copies the code and the current bundles into `stage`; returns what they are, by path."""
    bentofile = PROJECT / "serving/bentofile.yaml"
    content: dict[str, str] = {"serving/bentofile.yaml": sha256(bentofile)}
    patterns = [p for p in yaml.safe_load(bentofile.read_text("utf-8"))["include"] if not p.startswith("models/")]
    for file in sorted({bentofile, *(found for pattern in patterns for found in PROJECT.glob(pattern))}):
        copy = stage / file.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
        content[str(file.relative_to(PROJECT))] = sha256(file)
    current = read_current(models)
    for delivered in current.values():
        open_bundle(delivered.folder(models), digest=delivered.digest)
        shutil.copytree(delivered.folder(models), delivered.folder(stage / "models"))
    write_json(stage / "models" / CURRENT, {target: vars(line) for target, line in current.items()})
    content[f"models/{CURRENT}"] = sha256(stage / "models" / CURRENT)
    return content


def _bentoml(arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bentoml", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def run(parameters: Package) -> None:
    store = PROJECT / parameters.store if parameters.store else None
    print(build_bento(PROJECT / parameters.models, output=store))


if __name__ == "__main__":
    command(Package, run, examples=EXAMPLES)
