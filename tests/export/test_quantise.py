"""Smaller bundles: int8 whose answers do not depend on company, fp16, and the search for a recipe that loses little."""

import numpy as np
import onnx
import onnxruntime
import pytest

from polystilts.errors import InvalidValue, ParityError
from polystilts.export import quantise as quantising
from polystilts.export.quantise import (
    RECIPES,
    QuantRecipe,
    fp16,
    int8_within,
    per_tensor_activations,
    quantise,
    quantise_rows,
    sensitive,
    size,
)
from polystilts.export.variants import instruction_set, save_graph
from polystilts.formats import Features
from polystilts.formats.batching import collate
from polystilts.formats.values import FORMATS
from polystilts.runtime.bundle import load_predictor, open_bundle, run_self_test
from polystilts.runtime.ort import OrtBackend
from tests.world.encoder import EXAMPLES, HIDDEN

PIECES = 401


def rows_of(bundle):
    predictor = load_predictor(bundle, threads=1)
    rows = [f for group in predictor.encode(EXAMPLES[bundle.settings.format]) for f in group]
    random = np.random.default_rng(5)
    return rows + [Features(np.array([0, *random.integers(4, 400, n), 2])) for n in (0, 1, 2, 30, 77, 126)]


def differences(folder, format_, rows, batches=12):
    """Largest difference of a row alone and in random batches with random padding, by batch."""
    backend = OrtBackend(folder, threads=1)
    cut = format_ in ("tagging", "span")
    alone = [backend.run(collate([row], 1)) for row in rows]
    random = np.random.default_rng(0)
    found = []
    for _ in range(batches):
        chosen = random.choice(len(rows), random.integers(2, 9), replace=False)
        together = backend.run(collate([rows[i] for i in chosen], 1, length=int(random.integers(0, 129))))
        for place, i in enumerate(chosen):
            for name, expected in alone[i].items():
                got = together[name][place]
                got = got[: len(rows[i])] if cut else got
                assert got.shape == expected[0].shape
                found.append(float(np.abs(got - expected[0]).max()))
    return found


@pytest.fixture(scope="module")
def made(bundles, tmp_path_factory):
    root = tmp_path_factory.mktemp("int8")
    kept = {}

    def make(name, recipe=RECIPES[0]):
        key = name, recipe.name
        if key not in kept:
            kept[key] = quantise(bundles(name), root / "-".join(key), recipe=recipe)
        return kept[key]

    return make


@pytest.fixture(scope="module")
def theirs(bundles, tmp_path_factory):
    """Format -> folder with ONNX Runtime's own dynamic int8, one scale for all activations of a call."""
    root = tmp_path_factory.mktemp("theirs")

    def make(name):
        if not (root / name).is_dir():
            (root / name).mkdir()
            model = onnx.load(bundles(name).folder / "model.onnx")
            save_graph(per_tensor_activations(model, root), root / name)
        return root / name

    return make


@pytest.mark.parametrize("name", FORMATS)
class TestEveryFormat:
    def test_alone_equals_together_bit_for_bit(self, made, name):
        assert set(differences(made(name).folder, name, rows_of(made(name)))) == {0.0}

    def test_fp32_alone_equals_together_nearly(self, bundles, name):
        bundle = bundles(name)
        assert max(differences(bundle.folder, name, rows_of(bundle))) <= 1e-5

    def test_onnx_runtimes_own_int8_does_depend_on_company(self, bundles, theirs, name):
        assert max(differences(theirs(name), name, rows_of(bundles(name)), batches=5)) > 1e-3

    def test_no_farther_from_fp32_than_onnx_runtimes_own(self, bundles, made, theirs, name):
        predictor = load_predictor(bundles(name), threads=1)
        rows = rows_of(bundles(name))
        exact = predictor.run(rows)
        errors = []
        for folder in (made(name).folder, theirs(name)):
            predictor.backend = OrtBackend(folder, threads=1)
            outputs = predictor.run(rows)
            errors.append(
                np.linalg.norm([np.linalg.norm(a[k] - b[k]) for a, b in zip(exact, outputs, strict=True) for k in a])
            )
        assert 0 < errors[0] < 1.3 * errors[1]

    def test_what_the_bundle_says(self, bundles, made, name):
        bundle = open_bundle(made(name).folder)
        assert (bundle.precision, bundle.target, bundle.settings) == ("int8", name, bundles(name).settings)
        export = bundle.export
        assert export["opset"] == 20 and export["ir_version"] == 10
        assert export["instruction_set"] == instruction_set()
        assert export["quantisation"]["name"] == "per-tensor" and export["from"] == bundles(name).digest
        assert bundle.lineage["weights"] == bundles(name).lineage["weights"]
        assert bundle.self_test["tolerance"] == quantising.SELF_TEST_INT8
        assert run_self_test(bundle, load_predictor(bundle, threads=1)) == 0
        assert {p.stat().st_mode & 0o222 for p in bundle.folder.iterdir()} == {0}

    def test_weights_are_external_and_int8(self, made, name):
        model = onnx.load(made(name).folder / "model.onnx", load_external_data=False)
        matrices = [
            t for t in model.graph.initializer if len(t.dims) == 2 and np.prod(t.dims) > 1024 and t.dims[0] != 132
        ]
        assert {onnx.TensorProto.DataType.Name(t.data_type) for t in matrices} == {"INT8"}
        assert all(t.data_location == onnx.TensorProto.EXTERNAL for t in matrices)
        assert [PIECES, HIDDEN] in [list(t.dims) for t in matrices]
        assert {item.domain for item in model.opset_import} <= {"", "ai.onnx"}


@pytest.mark.parametrize("recipe", RECIPES[1:], ids=lambda recipe: recipe.name)
def test_every_recipe_is_independent_of_company(made, recipe):
    bundle = made("sentence", recipe)
    assert set(differences(bundle.folder, "sentence", rows_of(bundle))) == {0.0}


def test_optimised_and_plain_graph_agree(made):
    """ONNX Runtime's fusion of a product with its bias is wrong for a scale a row; ours must not be fused so."""
    bundle = made("pair")
    arrays = collate(rows_of(bundle), 1)
    outputs = []
    for level in (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    ):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.log_severity_level = 3
        outputs.append(onnxruntime.InferenceSession(bundle.folder / "model.onnx", options).run(None, arrays)[0])
    assert np.abs(outputs[0] - outputs[1]).max() < 0.02


def test_products_run_in_integers(made, tmp_path):
    """What the session really runs: no product of a weight is left in fp32."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(made("pair").folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node
    count = {kind: sum(node.op_type == kind for node in nodes) for kind in {node.op_type for node in nodes}}
    assert count["MatMulIntegerToFloat"] == 2 * 6 + 2
    assert all(not node.input[6:] for node in nodes if node.op_type == "MatMulIntegerToFloat")  # no bias in it
    assert count.get("MatMul", 0) + count.get("FusedMatMul", 0) == 2 * 2  # attention
    assert "SkipLayerNormalization" not in count


def test_rows_are_quantised_by_themselves():
    values = np.array([[1.0, -2.0], [0.0, 0.0], [1e-3, 5e-4]], dtype=np.float32)
    quantised, scales = quantise_rows(values)
    assert quantised.dtype == np.int8 and scales.shape == (3, 1)
    assert quantised.tolist() == [[64, -127], [0, 0], [127, 64]]
    np.testing.assert_allclose(quantised * scales, values, atol=2.0 / 127 / 2 + 1e-9)


def test_a_row_of_zeros_has_an_answer(bundles, tmp_path):
    """Its scale must not be zero: the embedding of padding may be."""
    model = onnx.load(bundles("pair").folder / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.endswith("LayerNorm.weight") or tensor.name.endswith("LayerNorm.bias"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(HIDDEN, np.float32), tensor.name))
    model = per_tensor_activations(model, tmp_path)
    quantising.make_row_wise(model.graph)
    save_graph(model, tmp_path)
    assert np.isfinite(OrtBackend(tmp_path).run(collate(rows_of(bundles("pair")), 1))["logits"]).all()


def test_the_layer_with_an_outlier_is_found(bundles, tmp_path):
    """One weight far above the others makes a scale for the whole weight too coarse."""
    bundle = bundles("pair")
    plain = sensitive(bundle, RECIPES[0])
    model = onnx.load(bundle.folder / "model.onnx")
    node = next(n for n in model.graph.node if n.name == plain[-1])
    weight = next(t for t in model.graph.initializer if t.name == node.input[1])
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] = 50.0
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    outlier = quantising.derive(bundle, tmp_path / "o", model, precision="fp32", tolerance=1e-3, notes={})
    assert sensitive(outlier, RECIPES[0])[0] == plain[-1]
    kept = quantise(outlier, tmp_path / "q", recipe=QuantRecipe("one", excluded=0.01))
    assert kept.export["excluded"] == [plain[-1]]


def test_fp16(bundles, tmp_path):
    bundle = fp16(bundles("span"), tmp_path / "h")
    assert bundle.precision == "fp16" and bundle.export["device"] == "cuda"
    assert size(bundle) < 0.6 * size(bundles("span"))
    rows = rows_of(bundle)
    for a, b in zip(*(load_predictor(x, threads=1).run(rows) for x in (bundles("span"), bundle)), strict=True):
        assert b["start"].dtype == np.float32
        assert np.abs(a["start"] - b["start"]).max() < quantising.SELF_TEST_FP16


@pytest.mark.parametrize("change", [quantise, fp16])
def test_only_fp32_is_made_smaller(made, tmp_path, change):
    with pytest.raises(InvalidValue, match="this one is int8"):
        change(made("pair"), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


class Scores:
    """Scores that a test chooses, by the number of the call: fp32 first, then each recipe."""

    def __init__(self, *answers):
        self.answers, self.seen = list(answers), []

    def __call__(self, bundle):
        self.seen.append(bundle.export.get("quantisation", {}).get("name"))
        return self.answers[len(self.seen) - 1]


def test_the_first_recipe_within_the_limits_is_kept(bundles, tmp_path):
    place = tmp_path / "kept"
    score = Scores(
        {"en": 80.0, "sw": 60.0},
        {"en": 79.9, "sw": 58.0},  # one language loses 2
        {"en": 79.2, "sw": 59.5},  # the mean loses 0.65
        {"en": 80.5, "sw": 59.0},
    )
    report = int8_within(bundles("pair"), place, score=score)
    assert score.seen == [None, "per-tensor", "per-channel", "exclude-10%"]
    assert report.bundle is not None and report.bundle.folder == place
    assert open_bundle(place).export["quantisation"]["name"] == "exclude-10%"
    assert [item.fits for item in report.tried] == [False, False, True]
    first, second, third = report.tried
    assert (first.worst_language, first.worst_loss) == ("sw", 2.0)
    assert second.mean_loss == pytest.approx(0.65) and second.worst_language == "en"
    assert third.mean_loss == pytest.approx(0.25) and third.worst_loss == 1.0
    assert first.size < third.size < third.size_fp32 == size(bundles("pair"))
    assert report.to_json()["tried"][0]["recipe"]["name"] == "per-tensor"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_none_fits(bundles, tmp_path):
    """A NaN fits no limit."""
    score = Scores({"en": 80.0, "sw": 60.0}, {"en": 70.0, "sw": 60.0}, {"en": 80.0, "sw": float("nan")})
    report = int8_within(bundles("pair"), tmp_path / "kept", score=score, recipes=RECIPES[:2])
    assert report.bundle is None and len(report.tried) == 2
    assert report.tried[1].worst_language == "sw"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answers", [[{}], [{"en": 1.0, "sw": 1.0}, {"en": 1.0}]])
def test_every_language_must_be_scored(bundles, tmp_path, answers):
    with pytest.raises(InvalidValue, match="scored"):
        int8_within(bundles("pair"), tmp_path / "kept", score=Scores(*answers))
    assert list(tmp_path.iterdir()) == []


def test_another_processor_is_found_out(made, tmp_path, bundles):
    """Saturated products change outputs by more than the tolerance: as if each weight were half."""
    model = onnx.load(made("pair").folder / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2 and tensor.dims[0] != PIECES:
            halved = np.clip(onnx.numpy_helper.to_array(tensor), -64, 63)
            tensor.CopyFrom(onnx.numpy_helper.from_array(halved, tensor.name))
    save_graph(model, tmp_path)
    predictor = load_predictor(made("pair"), threads=1)
    predictor.backend = OrtBackend(tmp_path, threads=1)
    with pytest.raises(ParityError):
        run_self_test(made("pair"), predictor)
