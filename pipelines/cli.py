"""Command lines: a pydantic model is the parser, the help and the MLproject entry; all problems at once."""

from __future__ import annotations

import argparse
import difflib
import errno
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from polystilts.errors import InvalidValue, PolystiltsError, Problems, UnknownName

#: The project folder: relative paths in parameters are relative to it.
ROOT = Path(__file__).resolve().parent.parent


class Parameters(BaseModel):
    """Parameters of one entry point; the class docstring is the help's first text, `examples` its last."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def problems(self) -> Sequence[PolystiltsError]:
        """What is wrong beyond the types of single values: names, folders, combinations."""
        return ()


P = TypeVar("P", bound=Parameters)


def parse(model: type[P], arguments: Sequence[str], *, program: str, examples: str = "") -> P:
    """Arguments -> parameters.

    Raises:
        Problems: every unknown option and every wrong value, together.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m pipelines.{program}",
        description=inspect.cleandoc(model.__doc__ or ""),
        epilog=examples and f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in model.model_fields.items():
        # A name of several words may be written with hyphens, as command lines usually are.
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        # A switch needs no value: `--strict` is `--strict true`.
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if field.annotation is bool else {}
        parser.add_argument(*spellings, dest=name, default=None, metavar=_metavar(field), help=_help(field), **switch)
    known, unknown = parser.parse_known_args(list(arguments))
    options = [f"--{name}" for name in model.model_fields]
    problems: list[PolystiltsError] = []
    for word in unknown:
        if word.startswith("-"):
            problems.append(UnknownName("parameter", word.split("=")[0], options))
        elif not problems:
            problems.append(InvalidValue(f"unexpected argument {word!r}"))
    given = {name: value for name, value in vars(known).items() if value is not None}
    try:
        parameters = model(**given)
    except ValidationError as error:
        problems += [from_pydantic(detail, "--") for detail in error.errors()]
        wrong = {str(detail["loc"][0]) for detail in error.errors()}
        parameters = _without(model, given, wrong)
    problems += parameters.problems()
    if problems:
        raise Problems(problems)
    return parameters


def _without(model: type[P], given: dict[str, Any], wrong: set[str]) -> P:
    """The parameters with defaults ('' where there is none) for the wrong ones, so that the rest can be checked."""
    missing = {name: "" for name, field in model.model_fields.items() if name in wrong and field.is_required()}
    return model(**{name: value for name, value in given.items() if name not in wrong}, **missing)


def from_pydantic(detail: Any, prefix: str = "", known: Sequence[str] = ()) -> InvalidValue:
    """One pydantic error as ours: field, what is allowed, what was given, and the nearest known name."""
    path = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"][0].lower() + detail["msg"][1:]
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(path.rsplit(".", 1)[-1], known, n=1)
        message = f"no such setting{f'; did you mean {close[0]!r}?' if close else ''}"
    return InvalidValue(f"{message}; given: {detail['input']!r}", param=f"{prefix}{path}", given=detail["input"])


def command(model: type[P], run: Callable[[P], None], *, examples: str = "") -> None:
    """Runs an entry point: errors become one message on stderr and a non-zero exit status."""
    program = Path(sys.argv[0]).stem
    try:
        run(parse(model, sys.argv[1:], program=program, examples=examples))
    except Problems as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(2)
    except PolystiltsError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        place = f" ({error.filename})" if error.filename else ""
        print(f"error: {os.strerror(error.errno or 0)}{place}; what was complete is kept", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # The tracking store can fail at any moment; importing its exception here would cost seconds.
        if not type(error).__module__.startswith("mlflow."):
            raise
        print(f"error: tracking store: {str(error).splitlines()[0]}; what was complete is kept", file=sys.stderr)
        sys.exit(1)


def _metavar(field: FieldInfo) -> str:
    return getattr(field.annotation, "__name__", "text").upper()


def _help(field: FieldInfo) -> str:
    default = "from the preset" if field.default == "" else field.default
    return f"{field.description} (default: {default})".replace("%", "%%")


def commit_of(folder: Path) -> str:
    """The commit of a git checkout, with a '+' where files differ from it; '' where there is no checkout."""
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
