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


def test_the_same_files_have_the_same_digest(original, folder):
    kept = read_json(folder / MANIFEST)
    arguments = {name: kept[name] for name in ("target", "precision", "lineage", "self_test")}
    (folder / MANIFEST).unlink()
    assert write_manifest(folder, settings=original.settings, **arguments) == original.digest
