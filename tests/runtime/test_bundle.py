"""Bundles: what is refused, and the self-test."""

import json
import re
import shutil

import numpy as np
import pytest

from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData, ParityError
from polystilts.formats import Features
from polystilts.runtime.bundle import (
    MANIFEST,
    load_predictor,
    open_bundle,
    record_self_test,
    run_self_test,
    write_manifest,
)
from polystilts.runtime.folders import file_sums, read_json, sha256, write_json
from tests.world.bundles import SETTINGS, tiny_bundle


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "udpos", "udpos")


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original.folder, tmp_path / "bundle")


def change_manifest(folder, **changes):
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | changes)


def test_what_is_written_is_read(original, folder):
    bundle = open_bundle(folder, digest=original.digest)
    assert bundle.settings == SETTINGS["udpos"]
    assert (bundle.target, bundle.precision, bundle.lineage) == ("udpos", "fp32", {"base": "tiny", "seed": 0})
    assert bundle.digest == sha256(folder / MANIFEST)
    assert bundle.files == file_sums(folder, leave_out=MANIFEST)
    assert set(bundle.files) == {"model.onnx", "model.onnx.data", "tokenizer.json"}


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_one_changed_byte_is_found(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ChecksumMismatch, match=rf"; {name}|: {re.escape(name)} has sha256"):
        open_bundle(folder)


def test_an_extra_file_is_found(folder):
    (folder / "extra.bin").write_bytes(b"")
    with pytest.raises(ChecksumMismatch, match=r"extra\.bin is not listed"):
        open_bundle(folder)


def test_a_missing_file_is_found(folder):
    (folder / "model.onnx.data").unlink()
    with pytest.raises(ChecksumMismatch, match=r"model\.onnx\.data is missing"):
        open_bundle(folder)


def test_another_digest_than_expected(folder):
    with pytest.raises(ChecksumMismatch, match="expected 000000000000"):
        open_bundle(folder, digest="0" * 64)


def test_a_changed_manifest_has_another_digest(original, folder):
    change_manifest(folder, target="panx")
    assert open_bundle(folder).target == "panx"
    with pytest.raises(ChecksumMismatch, match="digest"):
        open_bundle(folder, digest=original.digest)


@pytest.mark.parametrize("version", [0, 2, None])
def test_an_unknown_schema_version(folder, version):
    change_manifest(folder, schema_version=version)
    with pytest.raises(InvalidValue, match="this version reads 1") as caught:
        open_bundle(folder)
    assert (caught.value.param, caught.value.limit, caught.value.given) == ("schema_version", 1, version)


def test_half_a_manifest(folder):
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ChecksumMismatch, match="is not JSON"):
        open_bundle(folder)


def test_no_bundle(tmp_path):
    with pytest.raises(MissingData, match=r"has no bundle\.json"):
        open_bundle(tmp_path)


def test_the_self_test_passes(original):
    assert run_self_test(original, load_predictor(original, threads=1)) <= 1e-5


def test_a_self_test_that_differs_names_difference_and_tolerance(folder):
    stored = read_json(folder / MANIFEST)["self_test"]
    stored["cases"][0]["outputs"]["logits"][0][0] += 0.5
    change_manifest(folder, self_test=stored)
    bundle = open_bundle(folder)
    with pytest.raises(ParityError, match=r"udpos .* differs by 0\.5; the tolerance is 1e-05") as caught:
        run_self_test(bundle, load_predictor(bundle, threads=1))
    assert caught.value.param == "self_test"
    assert caught.value.given == pytest.approx(0.5, abs=1e-4)


def test_a_self_test_with_no_number_fails(folder):
    stored = read_json(folder / MANIFEST)["self_test"]
    stored["cases"][0]["outputs"]["logits"][0][0] = float("nan")
    change_manifest(folder, self_test=stored)
    bundle = open_bundle(folder)
    with pytest.raises(ParityError):
        run_self_test(bundle, load_predictor(bundle, threads=1))


def test_a_recorded_self_test_is_run_row_by_row(original):
    predictor = load_predictor(original, threads=1)
    rows = [Features(np.array(ids)) for ids in ([0, 9, 2], [0, 9, 8, 7, 2])]
    stored = json.loads(json.dumps(record_self_test(predictor, rows, tolerance=0.25)))
    assert stored["tolerance"] == 0.25
    assert [case["input_ids"] for case in stored["cases"]] == [[0, 9, 2], [0, 9, 8, 7, 2]]
    assert [np.shape(case["outputs"]["logits"]) for case in stored["cases"]] == [(3, 4), (5, 4)]


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/../b", "a\\b", "", "a\0b", "."])
def test_a_manifest_that_names_a_file_outside_is_refused(folder, name):
    change_manifest(folder, files=read_json(folder / MANIFEST)["files"] | {name: "0" * 64})
    with pytest.raises(ChecksumMismatch, match="no path inside its folder"):
        open_bundle(folder)


def test_weights_that_are_a_link_out_of_the_folder_are_refused(folder, tmp_path):
    (folder / "model.onnx.data").rename(tmp_path / "weights")
    (folder / "model.onnx.data").symlink_to(tmp_path / "weights")
    with pytest.raises(ChecksumMismatch, match=r"model\.onnx\.data is a link"):
        open_bundle(folder)


@pytest.mark.parametrize("target", ["../models", "a/b", "..", "", "a\0"])
def test_a_target_that_is_no_name_of_a_folder_is_refused(folder, target):
    change_manifest(folder, target=target)
    with pytest.raises(ChecksumMismatch, match=r"names|is no name"):
        open_bundle(folder)


@pytest.mark.parametrize("field", ["target", "settings", "precision", "lineage", "self_test", "files"])
@pytest.mark.parametrize("value", [None, 7, ["a"]])
def test_a_malformed_field_is_named(folder, field, value):
    change_manifest(folder, **{field: value})
    with pytest.raises(InvalidValue, match=f"has no {field} of type") as caught:
        open_bundle(folder)
    assert caught.value.param == field


@pytest.mark.parametrize("manifest", [b"[]", b"null", b"7", b'"text"', b"{}"])
def test_a_manifest_that_is_no_object(folder, manifest):
    (folder / MANIFEST).write_bytes(manifest)
    with pytest.raises(InvalidValue, match="bundle schema None"):
        open_bundle(folder)


def test_unknown_settings_are_refused(folder):
    change_manifest(folder, settings={"format": "pair", "command": "rm"})
    with pytest.raises(InvalidValue, match="unknown settings"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_bundle_without_a_file_it_needs(folder, name):
    (folder / name).unlink()
    change_manifest(folder, files=file_sums(folder, leave_out=MANIFEST))
    with pytest.raises(ChecksumMismatch, match=f"has no {re.escape(name)}"):
        open_bundle(folder)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"tolerance": 1, "cases": 7},
        {"tolerance": "much", "cases": []},
        {"tolerance": 1, "cases": [{}]},
        {"tolerance": 1, "cases": [{"input_ids": ["a"], "outputs": {}}]},
        {"tolerance": 1, "cases": [{"input_ids": [10**9], "outputs": {"logits": [[0.0]]}}]},
        {"tolerance": 1, "cases": [{"input_ids": [1], "outputs": {"other": [[0.0]]}}]},
    ],
)
def test_a_self_test_that_cannot_be_run_is_an_error_of_ours(folder, stored):
    change_manifest(folder, self_test=stored)
    bundle = open_bundle(folder)
    with pytest.raises(InvalidValue, match="cannot be run"):
        run_self_test(bundle, load_predictor(bundle, threads=1))


@pytest.mark.parametrize("cases", [[], [{"input_ids": [1, 2], "outputs": {}}]])
def test_a_bundle_without_a_self_test_is_refused(folder, cases):
    change_manifest(folder, self_test={"tolerance": 1.0, "cases": cases})
    bundle = open_bundle(folder)
    with pytest.raises(InvalidValue, match="has no self-test"):
        run_self_test(bundle, load_predictor(bundle, threads=1))


def test_stored_outputs_of_another_shape_never_pass(folder):
    """Numpy would stretch them over what was computed."""
    change_manifest(
        folder, self_test={"tolerance": 1e6, "cases": [{"input_ids": [1, 2], "outputs": {"logits": [0.0]}}]}
    )
    bundle = open_bundle(folder)
    with pytest.raises(ParityError, match="differs by inf"):
        run_self_test(bundle, load_predictor(bundle, threads=1))


def test_an_int8_bundle_that_differs_here_names_the_remedy(folder):
    stored = read_json(folder / MANIFEST)["self_test"]
    stored["cases"][0]["outputs"]["logits"][0][0] += 0.5
    change_manifest(folder, self_test=stored, precision="int8", export={"instruction_set": "avx512_vnni"})
    bundle = open_bundle(folder)
    with pytest.raises(
        ParityError, match=r"tolerance is 1e-05, where parity was measured on avx512_vnni.*reduce_range"
    ):
        run_self_test(bundle, load_predictor(bundle, threads=1))


def test_how_it_was_exported_is_kept(original, folder):
    kept = read_json(folder / MANIFEST)
    arguments = {name: kept[name] for name in ("target", "precision", "lineage", "self_test")}
    export = {"opset": 20, "ir_version": 10, "quantisation": {"tried": []}}
    digest = write_manifest(folder, settings=original.settings, **arguments, export=export)
    assert open_bundle(folder, digest=digest).export == export
    assert original.export == {}


def test_a_bundle_of_before_that_says_nothing_of_its_export_opens(folder):
    manifest = read_json(folder / MANIFEST)
    del manifest["export"]
    write_json(folder / MANIFEST, manifest)
    assert open_bundle(folder).export == {}


def test_the_same_files_have_the_same_digest(original, folder):
    kept = read_json(folder / MANIFEST)
    arguments = {name: kept[name] for name in ("target", "precision", "lineage", "self_test")}
    (folder / MANIFEST).unlink()
    assert write_manifest(folder, settings=original.settings, **arguments) == original.digest
