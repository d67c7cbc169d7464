"""How a bundle is logged as an MLflow pyfunc: columns, an input example in several languages, the code it carries."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, Schema

import polystilts
from polystilts.runtime.bundle import Bundle

#: What `pyfunc_model` needs; torch is not among them.
_PACKAGES = ("onnxruntime", "tokenizers", "numpy", "pandas")

#: Columns of each format, all text: choices one a line, tokens separated by blanks.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "pair": ("premise", "hypothesis"),
    "choice": ("premise", "question", "choices"),
    "tagging": ("tokens",),
    "span": ("question", "context"),
    "sentence": ("text",),
}

#: Rows of those columns, shown on the registry's page and by `mlflow models serve`.
EXAMPLES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "pair": (
        ("Anna is buying apples.", "Anna is buying fruit."),
        ("Anna kauft heute Äpfel.", "Anna kauft nichts."),
        ("Anna ananunua matofaa.", "Anna ananunua matunda."),
        ("安娜今天买苹果。", "安娜在睡觉。"),
    ),
    "choice": (
        ("The glass fell.", "effect", "It broke.\nIt grew."),
        ("Der Mann war müde.", "effect", "Er ging schlafen.\nEr lief davon."),
        ("Bardak kırıldı.", "cause", "Yere düştü.\nÇiçek açtı."),
        ("玻璃杯碎了。", "cause", "它掉了。\n它长大了。"),
    ),
    "tagging": (
        ("Anna reads old books .",),
        ("Анна читает старые книги .",),
        ("Anna anasoma vitabu vya zamani .",),
        ("安娜 读 书 。",),
    ),
    "span": (
        ("What does Anna buy?", "Anna buys apples in Paris."),
        ("¿Qué compra Anna?", "Anna compra manzanas en París."),
        ("Что покупает Анна?", "Анна покупает яблоки в Париже."),
        ("安娜买什么？", "安娜在巴黎买苹果。"),
    ),
    "sentence": (("Anna buys apples.",), ("Anna kauft Äpfel.",), ("अन्ना सेब खरीदती है।",), ("安娜买苹果。",)),
}


def log_pyfunc(bundle: Bundle) -> ModelInfo:
    """Uploads a bundle as a pyfunc made from code; into the active run, if there is one."""
    columns = COLUMNS[bundle.settings.format]
    with tempfile.TemporaryDirectory(prefix="polystilts-") as folder:
        staging = _stage_code(Path(folder))
        return mlflow.pyfunc.log_model(
            name=f"bundle-{bundle.target}",
            python_model=str(staging / "pyfunc_model.py"),
            artifacts={"bundle": str(bundle.folder)},
            code_paths=[str(staging / "polystilts")],
            pip_requirements=[f"{package}=={importlib.metadata.version(package)}" for package in _PACKAGES],
            signature=ModelSignature(
                inputs=Schema([ColSpec("string", column) for column in columns]),
                outputs=Schema([ColSpec("string", "prediction"), ColSpec("double", "score")]),
            ),
            input_example=pd.DataFrame(EXAMPLES[bundle.settings.format], columns=list(columns)),
        )


def _stage_code(staging: Path) -> Path:
    """The library that a version carries: what the server has, and the pyfunc's own module."""
    source = Path(polystilts.__file__).parent
    package = staging / "polystilts"
    ignore = shutil.ignore_patterns("__pycache__")
    for part in ("formats", "runtime"):
        shutil.copytree(source / part, package / part, ignore=ignore)
    for part in ("__init__.py", "errors.py"):
        shutil.copyfile(source / part, package / part)
    shutil.copyfile(source / "tracking" / "pyfunc_model.py", staging / "pyfunc_model.py")
    return staging
