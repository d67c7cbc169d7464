"""Nothing here ever unpickles: no call in the source could, and pickles planted in folders do not run."""

import ast
import os
import pickle  # noqa: TID251  # to make what must not run
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from polystilts.errors import ChecksumMismatch, MissingData
from polystilts.runtime.bundle import open_bundle
from polystilts.runtime.graph import UnsafeGraph
from polystilts.runtime.ort import OrtBackend
from polystilts.training.checkpoint import open_checkpoint, write_checkpoint
from polystilts.training.model import build_model
from tests.world.bundles import tiny_bundle
from tests.world.encoder import tiny_encoder

ROOT = Path(__file__).parents[2]

#: Modules that turn bytes into objects by running what the bytes say.
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "skops", "jsonpickle"}

#: Calls that may unpickle or run code, by the end of their name.
CALLS = (
    "torch.load",
    "jit.load",
    "hub.load",
    "np.load",
    "numpy.load",
    "read_pickle",
    "yaml.load",
    "sklearn.load_model",
)

#: Builtins that run text.
RUNNERS = {"eval", "exec", "compile", "__import__"}

#: Keywords that would allow code or pickles of others; and the values that forbid them.
KEYWORDS = {"allow_pickle": False, "trust_remote_code": False, "weights_only": True, "use_safetensors": True}

SOURCES = sorted(
    p for folder in ("polystilts", "pipelines", "serving", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)


def wrong_lines(text):
    found = []
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        if MODULES & set(names):
            found.append((node.lineno, "import"))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.endswith(CALLS) or called in RUNNERS:
                found.append((node.lineno, called))
            for keyword in node.keywords:
                if keyword.arg in KEYWORDS and ast.unparse(keyword.value) != str(KEYWORDS[keyword.arg]):
                    found.append((node.lineno, keyword.arg))
    return found


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from joblib import load", "import torch\ntorch.load(f)", "np.load(f)", "eval(text)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)", "f(use_safetensors=None)", "g(allow_pickle=flag)",
    ],
)  # fmt: skip
def test_the_search_finds(line):
    assert wrong_lines(line)


def test_no_source_can_unpickle():
    assert len(SOURCES) > 60
    wrong = {str(p.relative_to(ROOT)): lines for p in SOURCES if (lines := wrong_lines(p.read_text("utf-8")))}
    assert not wrong


class Payload:
    """Unpickled, it leaves a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "it-ran"


@pytest.fixture
def evil(mark):
    data = pickle.dumps(Payload(mark))
    pickle.loads(data)  # noqa: S301  # that it works at all
    mark.rmdir()
    return data


@pytest.fixture
def encoder(tmp_path):
    return tiny_encoder(tmp_path / "encoder")


PLANTED = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.pkl")


def test_a_pickle_beside_the_weights_of_a_base_model_is_never_read(encoder, evil, mark):
    for name in PLANTED:
        (encoder / name).write_bytes(evil)
    build_model("pair", open_checkpoint(encoder).folder, labels=("a", "b"))
    assert not mark.exists()


def test_a_base_model_with_pickled_weights_alone_is_refused(encoder, evil, mark):
    (encoder / "model.safetensors").unlink()
    (encoder / "pytorch_model.bin").write_bytes(evil)
    with pytest.raises(MissingData, match="no safetensors weights"):
        open_checkpoint(encoder)
    assert not mark.exists()


def test_a_pickle_named_safetensors_does_not_run(encoder, evil, mark):
    (encoder / "model.safetensors").write_bytes(evil)
    with pytest.raises((SafetensorError, OSError, ValueError)):
        build_model("pair", encoder, labels=("a", "b"))
    assert not mark.exists()


@pytest.mark.parametrize("name", PLANTED)
def test_a_pickle_in_a_checkpoint_or_bundle_is_refused(encoder, evil, mark, tmp_path, name):
    checkpoint = write_checkpoint(
        tmp_path / "checkpoint",
        build_model("pair", encoder, labels=("a", "b")),
        tokenizer_from=encoder,
        key="k",
        lineage={"phase": "target", "name": "mnli"},
    )
    bundle = tiny_bundle(tmp_path / "bundle", "xnli")
    for folder, opened in ((checkpoint.folder, open_checkpoint), (bundle.folder, open_bundle)):
        (folder / name).write_bytes(evil)
        with pytest.raises(ChecksumMismatch, match=f"{name} is not listed"):
            opened(folder)
    assert not mark.exists()


def test_a_pickle_in_place_of_the_graph_does_not_run(evil, mark, tmp_path):
    folder = shutil.copytree(tiny_bundle(tmp_path / "bundle", "xnli").folder, tmp_path / "copy")
    (folder / "model.onnx").write_bytes(evil)
    with pytest.raises(UnsafeGraph, match="no ONNX model"):
        OrtBackend(folder)
    assert not mark.exists()
