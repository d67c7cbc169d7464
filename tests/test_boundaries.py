"""The arrows of the house: who may import whom, read from the source; and a server without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: What is not there where the server runs.
FORBIDDEN = ("torch", "transformers", "datasets", "mlflow", "accelerate", "pandas", "seqeval", "sklearn")

#: Layer -> what it may import beside the standard library and itself; a name allows what is below it.
ALLOWED: dict[str, set[str]] = {
    "polystilts.errors": set(),
    "polystilts.tasks": {"polystilts.errors"},
    "polystilts.formats": {"polystilts.errors", "numpy", "tokenizers", "icu4py"},
    "polystilts.runtime": {
        "polystilts.errors", "polystilts.formats", "numpy", "tokenizers", "onnxruntime", "google.protobuf",
        "cryptography",
    },
    "polystilts.metrics": {
        "polystilts.errors", "polystilts.formats.values", "numpy", "scipy", "seqeval", "sklearn", "pyarrow",
        "faiss",
    },
    "polystilts.submission": {
        "polystilts.errors", "polystilts.tasks", "polystilts.metrics", "numpy",
    },
    "polystilts.data": {
        "polystilts.errors", "polystilts.tasks", "polystilts.formats.values", "polystilts.runtime.folders",
        "numpy", "datasets", "pyarrow", "yaml", "huggingface_hub", "filelock", "icu4py",
    },
    "polystilts.training": {
        "polystilts.errors", "polystilts.tasks", "polystilts.formats", "polystilts.runtime", "numpy", "torch",
        "transformers", "accelerate", "safetensors", "tokenizers", "tqdm", "rich",
    },
    "polystilts.training.pretrain": {"polystilts.data.micro"},
    "polystilts.export": {
        "polystilts.errors", "polystilts.formats", "polystilts.runtime", "polystilts.training", "numpy",
        "torch", "transformers", "onnx", "onnxruntime", "onnxscript",
    },
    "polystilts.evaluation": {
        "polystilts.errors", "polystilts.tasks", "polystilts.data", "polystilts.formats",
        "polystilts.runtime", "polystilts.metrics", "numpy", "pyarrow", "rich", "tqdm",
    },
    "polystilts.tracking": {
        "polystilts.errors", "polystilts.tasks", "polystilts.formats", "polystilts.runtime", "mlflow",
        "numpy", "pandas", "pyarrow", "filelock", "psutil", "rich",
    },
    "polystilts.analysis": {
        "polystilts.runtime.folders",
        "polystilts.errors", "polystilts.tasks", "polystilts.metrics", "polystilts.tracking",
        "polystilts.formats.values", "numpy", "pandas", "matplotlib", "scipy", "statsmodels", "pyarrow",
        "rich",
    },
    "serving": {
        "polystilts.errors", "polystilts.formats", "polystilts.runtime", "numpy", "pydantic", "pydantic_core",
        "starlette", "anyio", "httpx", "tenacity", "bentoml", "prometheus_client", "pythonjsonlogger", "opentelemetry",
    },
}  # fmt: skip


def layer_of(module: str) -> str | None:
    """The layer of ALLOWED that a module of ours is in."""
    names = [name for name in ALLOWED if module == name or module.startswith(f"{name}.")]
    return max(names, key=len, default=None)


def imports(path: Path, module: str) -> Iterator[str]:
    """Every module that a file imports, also inside functions; those for type checking alone are left out."""
    tree = ast.parse(path.read_text("utf-8"))
    unused = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in unused:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            base = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            # `from polystilts.data import micro` imports polystilts.data.micro.
            for alias in node.names:
                below = f"{source}.{alias.name}"
                yield below if (ROOT / below.replace(".", "/")).with_suffix(".py").exists() else source


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted([*(ROOT / "polystilts").rglob("*.py"), *(ROOT / "serving").rglob("*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


@pytest.mark.parametrize(("module", "path"), [pytest.param(*found, id=found[0]) for found in modules()])
def test_arrows(module: str, path: Path) -> None:
    if module == "polystilts":
        assert not list(imports(path, module))
        return
    layer = layer_of(module)
    assert layer is not None, f"{module} belongs to no layer of docs/architecture.md"
    parents = {name for name in ALLOWED if layer == name or layer.startswith(f"{name}.")}
    allowed = parents | {package for name in parents for package in ALLOWED[name]}
    wrong = {
        imported
        for imported in imports(path, module)
        if imported.split(".")[0] not in sys.stdlib_module_names
        and imported != "polystilts"
        and not any(imported == package or imported.startswith(f"{package}.") for package in allowed)
    }
    assert not wrong, f"{module} may not import {sorted(wrong)}"


def test_only_their_layers_import_mlflow_and_the_web() -> None:
    owners = {"mlflow": ("polystilts.tracking",), "starlette": ("serving",), "bentoml": ("serving",)}
    for module, path in modules():
        for imported in imports(path, module):
            layers = owners.get(imported.split(".")[0])
            assert layers is None or module.startswith(layers), f"{module} imports {imported}"


def test_the_parser_of_imports_sees_every_form(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\n"
        "def late():\n    import h\nif TYPE_CHECKING:\n    import i\nfrom polystilts.runtime import ort\n"
    )
    assert list(imports(file, "p.q.module")) == ["a.b", "c", "p.q", "p.q.f", "polystilts.runtime.ort", "h"]


_WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import {modules}
print(sorted(set(name.split(".")[0] for name in sys.modules) & set({forbidden})))
"""


def run_without(forbidden: tuple[str, ...], *names: str) -> str:
    """What a fresh interpreter prints that imports `names` where `forbidden` cannot be imported."""
    code = _WITHOUT.format(forbidden=forbidden, modules=", ".join(names))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_server_lives_without_torch_and_mlflow() -> None:
    own = [name for name, _ in modules() if name.startswith(("serving", "polystilts.runtime", "polystilts.formats"))]
    names = [name for name in own if name != "serving.openapi"]
    assert run_without(FORBIDDEN, *names, "serving.openapi", "pipelines.serve", "pipelines.package") == "[]"


def test_tasks_need_the_standard_library_alone() -> None:
    assert run_without((*FORBIDDEN, "numpy", "tokenizers", "pydantic"), "polystilts.tasks") == "[]"
