"""Bundles from checkpoints: the same answers as torch, alone or together, and nothing of this machine inside."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import polystilts
from polystilts.errors import ParityError
from polystilts.export import onnx as exporting
from polystilts.export.onnx import compare, export_bundle
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.batching import collate
from polystilts.formats.values import FORMATS, SentenceExample
from polystilts.runtime.bundle import load_predictor, open_bundle, run_self_test
from polystilts.runtime.ort import OrtBackend
from polystilts.runtime.predictor import Predictor
from polystilts.training.checkpoint import write_checkpoint
from polystilts.training.model import TorchBackend, build_for, build_model
from tests.world.encoder import EXAMPLES, HIDDEN, SETTINGS, tiny_encoder

#: Largest difference in fp32, of one backend with itself and of the two (measured: 1e-6 on outputs of order 1).
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "plain")


@pytest.fixture(scope="module")
def cases(encoder, tmp_path_factory):
    """Per format: exports once, when first asked for; (checkpoint, exported, torch and ONNX predictors, rows)."""
    root = tmp_path_factory.mktemp("exports")
    made = {}

    def case(name):
        if name not in made:
            settings = SETTINGS[name]
            model = build_model(name, encoder, labels=settings.labels, seed=1)
            checkpoint = write_checkpoint(
                root / name / "checkpoint", model, tokenizer_from=encoder, key="k", lineage={"seed": 1}
            )
            place = root / name / "bundle"
            exported = export_bundle(checkpoint, settings, place, target=f"my {name}", examples=EXAMPLES[name])
            format_ = make_format(Pieces.open(place), settings)
            predictors = {
                "torch": Predictor(format_, TorchBackend(model.eval(), settings)),
                "onnx": Predictor(format_, OrtBackend(place, threads=1)),
            }
            rows = [f for group in format_.encode(EXAMPLES[name]) for f in group]
            made[name] = checkpoint, exported, predictors, rows
        return made[name]

    return case


def largest(first, second):
    return max(float(np.max(np.abs(a[k] - b[k]))) for a, b in zip(first, second, strict=True) for k in a)


@pytest.mark.parametrize("name", FORMATS)
class TestEveryFormat:
    def test_torch_equals_onnx(self, cases, name):
        _, exported, predictors, rows = cases(name)
        difference, agreement = compare(predictors["torch"], predictors["onnx"], rows)
        assert difference <= TOLERANCE and agreement == 1.0
        assert exported.parity <= TOLERANCE and exported.agreement == 1.0

    def test_one_padded_call_of_all_rows_gives_the_same(self, cases, name):
        """Not as the predictor would pack it: every row as long as the longest, in one call."""
        _, _, predictors, rows = cases(name)
        assert len({len(row) for row in rows}) > 3
        arrays = collate(rows, 1, length=100)
        results = [predictor.backend.run(arrays) for predictor in predictors.values()]
        for key in results[0]:
            a, b = (result[key] for result in results)
            if name in ("tagging", "span"):  # padding has outputs that nobody reads
                a, b = ([row[: len(f)] for row, f in zip(x, rows, strict=True)] for x in (a, b))
                a, b = np.concatenate(a), np.concatenate(b)
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, atol=TOLERANCE)

    @pytest.mark.parametrize("backend", ["torch", "onnx"])
    def test_alone_equals_together(self, cases, name, backend):
        _, _, predictors, rows = cases(name)
        predictor = predictors[backend]
        alone = [predictor.run([row])[0] for row in rows]
        together = predictor.backend.run(collate(rows, 1))
        for i, (row, expected) in enumerate(zip(rows, alone, strict=True)):
            for key, value in expected.items():
                found = together[key][i]
                if name in ("tagging", "span"):
                    found = found[: len(row)]
                assert np.abs(found - value).max() <= TOLERANCE, (key, i)

    def test_rows_differ_from_each_other(self, cases, name):
        """Or the tests above would hold for a constant."""
        _, _, predictors, rows = cases(name)
        firsts = [next(iter(output.values())).ravel()[:1] for output in predictors["onnx"].run(rows)]
        assert np.std(firsts) > 100 * TOLERANCE

    def test_answers_agree(self, cases, name):
        _, _, predictors, _ = cases(name)
        first, second = (predictor.predict(EXAMPLES[name]) for predictor in predictors.values())
        for a, b in zip(first, second, strict=True):
            if name == "sentence":
                np.testing.assert_allclose(a.embeddings, b.embeddings, atol=TOLERANCE)
            elif name == "span":
                assert (a.text, a.start, a.end) == (b.text, b.start, b.end)
            else:
                answer = "tags" if name == "tagging" else "label"
                assert getattr(a, answer) == getattr(b, answer)

    def test_the_bundle_says_what_it_is(self, cases, name):
        checkpoint, exported, _, _ = cases(name)
        bundle = open_bundle(exported.bundle.folder, digest=exported.bundle.digest)
        assert (bundle.target, bundle.precision, bundle.settings) == (f"my {name}", "fp32", SETTINGS[name])
        assert bundle.lineage["weights"] == checkpoint.weights and bundle.lineage["seed"] == 1
        assert "files" not in bundle.lineage
        assert bundle.self_test["cases"]
        assert run_self_test(bundle, load_predictor(bundle, threads=1)) <= TOLERANCE

    def test_nothing_of_this_machine_is_inside(self, cases, name):
        _, exported, _, _ = cases(name)
        project = Path(polystilts.__file__).parents[1]
        found = b"".join(p.read_bytes() for p in exported.bundle.folder.iterdir() if p.name != "model.onnx.data")
        for text in (str(project), "site-packages", ".py", str(Path.home()) + "/", str(exported.bundle.folder)):
            assert text.encode() not in found, text

    def test_all_weights_stand_in_one_external_file(self, cases, name):
        checkpoint, exported, _, _ = cases(name)
        folder = exported.bundle.folder
        assert sorted(p.name for p in folder.iterdir()) == [
            "bundle.json",
            "model.onnx",
            "model.onnx.data",
            "tokenizer.json",
        ]
        graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
        external = [t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
        assert {e.value for t in external for e in t.external_data if e.key == "location"} == {"model.onnx.data"}
        # What stays in the graph is constants and vectors smaller than a page, no matrix.
        inside = [t for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
        assert all(np.prod(t.dims) * 4 < 1024 for t in inside)
        largest_weight = max(np.prod(t.dims) for t in external)
        assert largest_weight == 401 * HIDDEN
        assert (folder / "model.onnx").stat().st_size < (checkpoint.folder / "model.safetensors").stat().st_size

    def test_files_cannot_be_written(self, cases, name):
        _, exported, _, _ = cases(name)
        assert {p.stat().st_mode & 0o222 for p in exported.bundle.folder.iterdir()} == {0}

    def test_rows_and_tokens_are_free(self, cases, name):
        """One row, many rows, the shortest row there is, the longest the encoder takes."""
        _, _, predictors, _ = cases(name)
        for shape in ((1, 2), (1, 130), (17, 3)):
            arrays = {"input_ids": np.full(shape, 9), "attention_mask": np.ones(shape, dtype=np.int64)}
            first, second = (predictor.backend.run(arrays) for predictor in predictors.values())
            for key in first:
                np.testing.assert_allclose(first[key], second[key], atol=TOLERANCE)


def test_layers_above_the_pooled_one_are_dropped(cases):
    checkpoint, exported, _, _ = cases("sentence")
    assert exported.bundle.settings.layers == (1,)
    names = [
        t.name for t in onnx.load(exported.bundle.folder / "model.onnx", load_external_data=False).graph.initializer
    ]
    assert any("layer.0" in name for name in names)
    assert not any("layer.1" in name for name in names)
    per_layer = 8 * HIDDEN * HIDDEN * 4  # attention 4 x h x h, feed-forward 2 x h x 2h, in bytes
    saved = (checkpoint.folder / "model.safetensors").stat().st_size - (
        exported.bundle.folder / "model.onnx.data"
    ).stat().st_size
    assert saved > per_layer


class Wrong:
    """A backend whose outputs are off by a little, or are no numbers."""

    def __init__(self, folder, error):
        self.backend, self.error = OrtBackend(folder, threads=1), error

    def run(self, arrays):
        return {name: value + np.float32(self.error) for name, value in self.backend.run(arrays).items()}


@pytest.mark.parametrize("error", [0.01, float("nan"), float("inf")])
def test_a_model_that_answers_otherwise_leaves_nothing_behind(cases, monkeypatch, tmp_path, error):
    checkpoint, exported, _, _ = cases("pair")
    graph = exported.bundle.folder

    def copied(module, format_, rows, pad, folder):
        for name in ("model.onnx", "model.onnx.data"):
            (folder / name).write_bytes((graph / name).read_bytes())

    monkeypatch.setattr(exporting, "_write_graph", copied)
    monkeypatch.setattr(exporting, "OrtBackend", lambda folder: Wrong(folder, error))
    with pytest.raises(ParityError, match="ONNX differs from torch by") as caught:
        export_bundle(checkpoint, SETTINGS["pair"], tmp_path / "b", target="pair", examples=EXAMPLES["pair"])
    assert caught.value.param == "parity"
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_model_are_found(cases, encoder, monkeypatch, tmp_path):
    """The graph of one checkpoint beside the weights of another: parity fails by itself."""
    _, exported, _, _ = cases("pair")
    other = build_model("pair", encoder, labels=SETTINGS["pair"].labels, seed=99)
    checkpoint = write_checkpoint(tmp_path / "other", other, tokenizer_from=encoder, key="o", lineage={})

    def copied(module, format_, rows, pad, folder):
        for name in ("model.onnx", "model.onnx.data"):
            (folder / name).write_bytes((exported.bundle.folder / name).read_bytes())

    monkeypatch.setattr(exporting, "_write_graph", copied)
    with pytest.raises(ParityError):
        export_bundle(checkpoint, SETTINGS["pair"], tmp_path / "b" / "c", target="pair", examples=EXAMPLES["pair"])
    assert list((tmp_path / "b").iterdir()) == []


def test_agreement_is_the_share_of_rows_with_the_same_answer(cases):
    _, _, predictors, rows = cases("pair")

    class Turned:
        def run(self, arrays):
            logits = predictors["onnx"].backend.run(arrays)["logits"]
            turned = np.where(arrays["input_ids"].sum(axis=1, keepdims=True) % 2 == 0, -logits, logits)
            return {"logits": turned}

    even = [row.input_ids.sum() % 2 == 0 for row in rows]
    alone = Predictor(predictors["onnx"].format, Turned(), max_tokens=1)
    _, agreement = compare(predictors["onnx"], alone, rows)
    assert agreement == pytest.approx(1 - sum(even) / len(rows))
    assert 0 < agreement < 1


def test_settings_survive_the_bundle(cases):
    _, exported, _, _ = cases("choice")
    assert isinstance(exported.bundle.settings, FormatSettings)
    assert exported.bundle.settings.question_texts == SETTINGS["choice"].question_texts


def test_a_dual_encoder_answers_as_in_torch(encoder, tmp_path):
    """Its scale is not served, all its layers are, and its vectors have length 1."""
    settings = FormatSettings("sentence", max_length=40, max_question_length=8, pooling="pooler")
    model = build_for(settings, encoder, seed=1)
    checkpoint = write_checkpoint(tmp_path / "c", model, tokenizer_from=encoder, key="k", lineage={}, settings=settings)
    texts = [*EXAMPLES["sentence"], SentenceExample("q", "en", EXAMPLES["sentence"][0].text, query=True)]
    exported = export_bundle(checkpoint, settings, tmp_path / "b", target="lareqa", examples=texts)
    assert exported.parity <= TOLERANCE
    served = load_predictor(exported.bundle, threads=1)
    assert served.format.settings == settings
    torch_answers = Predictor(served.format, TorchBackend(model.eval(), settings)).predict(texts)
    answers = served.predict(texts)
    for a, b in zip(torch_answers, answers, strict=True):
        assert b.embeddings.shape == (1, HIDDEN)
        np.testing.assert_allclose(a.embeddings, b.embeddings, atol=TOLERANCE)
        assert np.linalg.norm(b.embeddings) == pytest.approx(1, abs=1e-5)
    assert np.abs(answers[0].embeddings - answers[-1].embeddings).max() > 100 * TOLERANCE  # the question was cut
