"""A models folder and the server's code -> a bento, with what is in it written down."""

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
from pipelines.cli import Parameters, command, commit_of
from pipelines.inventory import write_inventory
from polystilts.errors import PolystiltsError
from polystilts.runtime.bundle import open_bundle
from polystilts.runtime.folders import digest_of, sha256, write_json
from polystilts.runtime.models_folder import CURRENT, read_current

NAME = "polystilts"

#: What the bento is built with, in the project and in the staged copy.
BENTOFILE = Path("serving/bentofile.yaml")

#: Nothing phones home from anything we start, unless a user says so.
NO_TRACKING = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "true"}


EXAMPLES = """\
  python -m pipelines.package
  python -m pipelines.package --models /srv/models --store /srv/bentos"""


class Package(Parameters):
    """Builds a bento of the server, the current bundles and an inventory of both, and prints its tag."""

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
    # Of whom a proxy forwards is only believed what an operator says so; and memory that threads freed goes back.
    defaults = {**NO_TRACKING, "FORWARDED_ALLOW_IPS": "", "MALLOC_ARENA_MAX": "2"}
    environment = {**defaults, **os.environ}
    if home is not None:
        environment["BENTOML_HOME"] = str(home.absolute())
    return environment


def build_bento(models: Path, *, output: Path | None = None) -> str:
    """Builds a bento of the current bundles and returns its tag, ``polystilts:<version>``.

    The version is a digest of everything in the bento, so the same content is built once. Beside code and models it
    holds ``sbom.cdx.json`` (CycloneDX), ``licenses.json``, ``data-licenses.json`` and ``provenance.json``.

    Args:
        models: the models folder.
        output: the bento store (BENTOML_HOME) to build into; None = the user's.

    Raises:
        MissingData: no models there; or a locked package whose licence cannot be read, as it is not installed.
        ChecksumMismatch: a bundle was changed.
        LicenceRefused: a package may not be shipped.
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
            ["build", "--bentofile", str(stage / BENTOFILE), "--version", version, str(stage)], environment
        )
    if built.returncode:
        raise BuildFailed(f"bentoml build failed: {(built.stderr or built.stdout).strip()[-2000:]}")
    return tag


def _stage(models: Path, stage: Path) -> Mapping[str, str]:
    """Copies the code and the current bundles into `stage`, and writes the inventory; returns sha256 by path."""
    bentofile = yaml.safe_load((PROJECT / BENTOFILE).read_text("utf-8"))
    patterns = [pattern for pattern in bentofile["include"] if not pattern.startswith("models/")]
    files = sorted({found for pattern in patterns for found in PROJECT.glob(pattern) if found.is_file()})
    for file in files:
        copy = stage / file.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    current = read_current(models)
    bundles = {key: open_bundle(line.folder(models), digest=line.digest) for key, line in current.items()}
    for line in {line.folder(models): line for line in current.values()}.values():
        # Without the files' modes: in an image they are root's, and another user reads them.
        shutil.copytree(line.folder(models), line.folder(stage / "models"), copy_function=shutil.copyfile)
    write_json(stage / "models" / CURRENT, {key: vars(line) for key, line in current.items()})
    written = write_inventory(
        stage,
        lock=PROJECT / bentofile["python"]["requirements_txt"],
        delivered=current,
        bundles=bundles,
        commit=commit_of(PROJECT),
    )
    bentofile["include"] += [path.name for path in written]
    (stage / BENTOFILE).parent.mkdir(parents=True, exist_ok=True)
    (stage / BENTOFILE).write_text(yaml.safe_dump(bentofile, sort_keys=False), encoding="utf-8")
    # The bundles' own files are told apart by the digests in the list of models.
    own = [BENTOFILE, Path("models", CURRENT), *(path.relative_to(stage) for path in written)]
    return {str(path): sha256(stage / path) for path in [*(file.relative_to(PROJECT) for file in files), *own]}


def _bentoml(arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bentoml", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def run(parameters: Package) -> None:
    store = PROJECT / parameters.store if parameters.store else None
    print(build_bento(PROJECT / parameters.models, output=store))


if __name__ == "__main__":
    command(Package, run, examples=EXAMPLES)
