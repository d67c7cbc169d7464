"""Entry point `lineage`: from a served answer's model back to where it came from."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.cli import ROOT, Parameters, command
from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData, NoModel, PolystiltsError

EXAMPLES = """\
  python -m pipelines.lineage --of xnli@champion
  python -m pipelines.lineage --of polystilts-xnli/3 --json        # the same as --show json
  python -m pipelines.lineage --of outputs/bundles/xnli-0123456789abcdef
  python -m pipelines.lineage --of http://127.0.0.1:3000"""

FORMS = (
    "an alias (xnli@champion), a version (xnli/3), a folder (of a bundle, a checkpoint or models), "
    "or a server (http://127.0.0.1:3000)"
)

#: What a step of each phase should say; what it lacks is printed.
EXPECTED: Mapping[str, tuple[str, ...]] = {
    "target": ("tasks", "seed", "settings", "version", "commit", "run_id", "weights", "parent"),
    "intermediate": ("tasks", "seed", "settings", "version", "commit", "run_id", "weights", "parent"),
    "pretrain": ("seed", "version", "commit", "run_id", "weights"),
    "base": ("name", "revision", "weights"),
}
EXPECTED_TASK = ("rows", "licence", "data")


class Lineage(Parameters):
    """Prints the walk from a model back to its base: version, run, bundle, checkpoints, data, seeds, commits."""

    of: str = Field(description=FORMS)
    show: Literal["tree", "json"] = Field("tree", description="tree or json")

    def problems(self) -> Sequence[PolystiltsError]:
        try:
            kind_of(self.of)
        except PolystiltsError as error:
            return [error]
        return []


@dataclass(frozen=True)
class Step:
    """One thing on the walk.

    Attributes:
        kind: 'version', 'bundle', or the phase that made a checkpoint: 'target', 'intermediate', 'pretrain', 'base'.
        facts: what is known of it, in the order in which it is shown.
        missing: what it should say and does not.
    """

    kind: str
    name: str
    facts: Mapping[str, Any]
    missing: tuple[str, ...] = ()


@dataclass
class Walk:
    """The steps from the model that was asked for to the one that everything started from."""

    steps: list[Step] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"steps": [{**vars(step), "missing": list(step.missing)} for step in self.steps]}


def kind_of(of: str) -> str:
    """Which of the forms a text has: 'server', 'folder', 'alias' or 'version'.

    Raises:
        InvalidValue: none of them.
    """
    if of.startswith(("http://", "https://")):
        return "server"
    if of and (ROOT / of).is_dir():
        return "folder"
    name, at, alias = of.partition("@")
    if at and name and alias and "/" not in of:
        return "alias"
    name, slash, version = of.partition("/")
    if slash and name and version.isascii() and version.isdigit():
        return "version"
    raise InvalidValue(f"{of!r} is no folder and none of the other forms: {FORMS}", param="--of", given=of)


def walks(of: str) -> list[Walk]:
    """The walk of every model that `of` stands for; a server and a models folder have several.

    Raises:
        MissingData, NoModel: there is no such thing.
        ChecksumMismatch: files that are not those that were recorded.
    """
    kind = kind_of(of)
    if kind == "server":
        return _of_server(of)
    if kind == "folder":
        return list(_of_folder(ROOT / of))
    return [_of_version(of, kind)]


def _of_server(url: str) -> list[Walk]:
    import httpx

    from serving.client import AnswerError, Client

    try:
        with Client(url, attempts=1, timeout=10) as client:
            walks = [_of_card(url, card) for card in client.models()]
    except (httpx.HTTPError, httpx.InvalidURL, AnswerError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingData(f"no Polystilts server answers at {url}: {error!r}", param="--of", given=url) from None
    if not walks:
        raise NoModel(f"the server at {url} has no models", param="--of", given=url)
    return walks


def _of_card(url: str, card: Mapping[str, Any]) -> Walk:
    facts = {"served by": url, "target": card["target"]}
    served = Step("version", f"{card['name']} version {card['version']}", facts)
    return Walk([served, *_bundle_steps(card["digest"], card["precision"], card["target"], card["lineage"])])


def _of_folder(folder: Path) -> Iterator[Walk]:
    from polystilts.runtime.bundle import MANIFEST, open_bundle
    from polystilts.runtime.folders import read_json, verify_files
    from polystilts.runtime.models_folder import CURRENT, read_current

    # The name and its check are those of training.checkpoint, whose import takes torch's seconds.
    record = "lineage.json"
    if (folder / MANIFEST).is_file():
        yield Walk(_steps_of_bundle(open_bundle(folder)))
    elif (folder / record).is_file():
        lineage = read_json(folder / record)
        if not isinstance(lineage, dict):
            raise ChecksumMismatch(f"{folder / record} holds no lineage")
        verify_files(folder, lineage.get("files", {}), manifest=record)
        yield Walk(list(_checkpoint_steps(lineage)))
    elif (folder / CURRENT).is_file():
        for line in read_current(folder).values():
            bundle = open_bundle(line.folder(folder), digest=line.digest)
            served = Step("version", f"{line.name} version {line.version}", {"current bundle of": line.target})
            yield Walk([served, *_steps_of_bundle(bundle)])
    else:
        raise MissingData(
            f"{folder} has neither {MANIFEST} (a bundle), nor {record} (a checkpoint), nor {CURRENT} (models)",
            param="--of",
            given=str(folder),
        )


def _of_version(of: str, kind: str) -> Walk:
    from polystilts.tracking.reach import check_tracker

    uri = os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'mlflow.db'}")
    check_tracker(uri)
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    from polystilts.tracking import registry

    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    name, _, last = of.partition("@" if kind == "alias" else "/")
    prefix = registry.model_name("")
    name = name if name.startswith(prefix) else prefix + name
    version = registry.alias_version(name, last) if kind == "alias" else last
    try:
        if version is None:
            raise NoModel(f"{name} has no version with alias {last!r}", param="--of", given=of)
        found = client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise NoModel(f"there is no version {version} of {name}", param="--of", given=of) from None
    with tempfile.TemporaryDirectory(prefix="polystilts-") as scratch:
        registered, bundle = registry.download_version(name, version, Path(scratch))
        steps = _steps_of_bundle(bundle)
    tags = registered.tags
    facts = {
        "aliases": ", ".join(found.aliases) or None,
        "store": uri if "@" not in uri else None,  # not with its password
        "replaces": tags.get("replaces"),
        "run": _run_of(client, found.run_id),
        "pyfunc": tags.get("model_id"),
        "checkpoint": tags.get("checkpoint_model_id"),
    }
    missing = tuple(name for name in ("run", "checkpoint") if not facts[name])
    first = Step("version", f"{name} version {version}", _known(facts), missing)
    return Walk([first, *(_with_run(client, step) for step in steps)])


def _with_run(client: Any, step: Step) -> Step:
    """A step whose run is looked up in the store."""
    if not step.facts.get("run"):
        return step
    run = _run_of(client, step.facts["run"])
    return Step(step.kind, step.name, {**step.facts, "run": run}, step.missing)


def _run_of(client: Any, run_id: str | None) -> str | None:
    """A run's id, name and state; that it is gone, where the store does not know it."""
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException:
        return f"{run_id} (not in this store)"
    return f"{run_id} ({run.info.run_name}, {run.info.status})"


def _steps_of_bundle(bundle: Any) -> list[Step]:
    export = {key: value for key, value in bundle.export.items() if isinstance(value, str | int | float)}
    return _bundle_steps(bundle.digest, bundle.precision, bundle.target, bundle.lineage, export, verified=True)


def _bundle_steps(
    digest: str,
    precision: str,
    target: str,
    lineage: Mapping[str, Any],
    export: Mapping[str, Any] | None = None,
    *,
    verified: bool = False,
) -> list[Step]:
    facts = {
        "digest": digest,
        "precision": precision,
        "export": _pairs(export or {}),
        "languages": " ".join(lineage.get("languages") or ()),
        "files": "every sha256 is right" if verified else None,
    }
    return [Step("bundle", target, _known(facts)), *_checkpoint_steps(lineage)]


def _checkpoint_steps(lineage: Any) -> Iterator[Step]:
    """A checkpoint and all that it was made from."""
    while isinstance(lineage, Mapping):
        phase = str(lineage.get("phase", "checkpoint"))
        tasks = [task for task in lineage.get("tasks") or () if isinstance(task, Mapping)]
        missing = [name for name in EXPECTED.get(phase, ("phase",)) if lineage.get(name) in (None, "")]
        missing += [f"{name} of {task.get('name')}" for task in tasks for name in EXPECTED_TASK if not task.get(name)]
        facts = {
            "recipe": lineage.get("recipe"),
            "revision": lineage.get("revision"),
            "rows from": lineage.get("source"),
            **{f"task {task.get('name')}": _task(task) for task in tasks},
            "world": lineage.get("world_digest"),
            "seed": lineage.get("seed"),
            "updates": lineage.get("updates"),
            "kept": _kept(lineage),
            "settings": _pairs(lineage.get("settings") or {}),
            "code": " ".join(str(lineage[key]) for key in ("version", "commit") if lineage.get(key)),
            "run": lineage.get("run_id"),
            "weights": lineage.get("weights"),
            "tokenizer": lineage.get("tokenizer"),
        }
        yield Step(phase, str(lineage.get("name", "?")), _known(facts), tuple(missing))
        lineage = lineage.get("parent")


def _task(task: Mapping[str, Any]) -> str:
    data = str(task.get("data") or "")
    revision = f", revision {task['revision']}" if task.get("revision") else ""
    return f"{task.get('rows', '?')} rows{revision}, data {data or '?'}, licence {task.get('licence') or '?'}"


def _kept(lineage: Mapping[str, Any]) -> str | None:
    """Which update the weights are of, and why."""
    if lineage.get("best_update") is None:
        return None
    score = lineage.get("checkpoint_score")
    scored = "" if score is None else f", English checkpoint rows {score:.1f}"
    return f"{lineage.get('selection') or 'update'}: best update {lineage['best_update']}{scored}"


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value not in (None, "")}


def show_tree(walk: Walk) -> None:
    """Each step below the one that was made from it."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    top: Tree | None = None
    branch: Tree | None = None
    for step in walk.steps:
        label = Text(f"{step.kind} ", style="bold").append(step.name, style="bold cyan")
        branch = Tree(label) if branch is None else branch.add(label)
        top = top or branch
        for name, value in step.facts.items():
            branch.add(Text(f"{name}: ", style="dim").append(str(value), style="default"))
        if step.missing:
            branch.add(Text(f"not recorded: {', '.join(step.missing)}", style="yellow"))
    if top:
        # In a file or pipe every fact stays on one line, where it can be searched for.
        Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(top)


def run(parameters: Lineage) -> None:
    found = walks(parameters.of)
    if parameters.show == "json":
        print(json.dumps([walk.to_json() for walk in found], indent=1, ensure_ascii=False))
        return
    for walk in found:
        show_tree(walk)


def spelled(words: Sequence[str]) -> list[str]:
    """`--json`, alone or with true or false behind it, as `--show`, which `mlflow run` can give as well."""
    result: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        flag, _, value = word.partition("=")
        if flag != "--json":
            result.append(word)
            continue
        if not value and waiting and waiting[0] in ("true", "false"):
            value = waiting.pop(0)
        result.append(f"--show={'tree' if value == 'false' else 'json'}")
    return result


if __name__ == "__main__":
    sys.argv[1:] = spelled(sys.argv[1:])
    command(Lineage, run, examples=EXAMPLES)
