"""A bento: what it holds beside the code, and that the same content is the same bento."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import inventory
from pipelines.inventory import LicenceRefused
from pipelines.package import build_bento
from polystilts.runtime.folders import sha256
from polystilts.runtime.models_folder import Delivered, point, read_current, store_bundle
from tests.world.bundles import tiny_bundle, tiny_models

DOCUMENTS = ("data-licenses.json", "licenses.json", "provenance.json", "sbom.cdx.json")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion and its challenger."""
    folder = tmp_path_factory.mktemp("world")
    models = tiny_models(folder, ["xnli"])
    challenger = tiny_bundle(folder / "challenger", "xnli", seed=7)
    store_bundle(challenger, models)
    point(models, {"xnli@challenger": Delivered("xnli", challenger.digest, "polystilts-xnli", "2")})
    return models


def test_a_bento_says_what_is_in_it(models: Path, tmp_path: Path) -> None:
    tag = build_bento(models, output=tmp_path / "one")
    source = tmp_path / "one/bentos" / tag.replace(":", "/") / "src"
    assert {path.name for path in source.iterdir() if path.suffix == ".json"} == set(DOCUMENTS)
    current = read_current(models)
    assert read_current(source / "models") == current
    assert {path.parent.name for path in (source / "models").rglob("bundle.json")} == {
        d.digest for d in current.values()
    }
    origin = json.loads((source / "provenance.json").read_text())
    assert {key: line["digest"] for key, line in origin["bundles"].items()} == {k: d.digest for k, d in current.items()}
    assert origin["lock"]["sha256"] == sha256(source / "serving/requirements.lock")
    bill = json.loads((source / "sbom.cdx.json").read_text())
    assert {c["name"] for c in bill["components"] if c["type"] != "library"} == {
        f"polystilts-xnli@{key}" for key in current
    }
    assert set(json.loads((source / "data-licenses.json").read_text())) == set(current)
    # Built elsewhere and later it is the same, in every byte of what is said.
    assert build_bento(models, output=tmp_path / "two") == tag
    again = tmp_path / "two/bentos" / tag.replace(":", "/") / "src"
    for name in DOCUMENTS:
        assert (again / name).read_bytes() == (source / name).read_bytes()


def test_a_licence_that_may_not_be_shipped_stops_the_build(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "PERMISSIVE", inventory.PERMISSIVE - {"MPL-2.0"})
    with pytest.raises(LicenceRefused, match=r"certifi .*\(MPL-2\.0\)"):
        build_bento(models, output=tmp_path)
    assert not (tmp_path / "bentos").exists()
