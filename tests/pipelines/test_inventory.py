"""What a bento says of itself: materials, licences, origins; the same for the same content."""

from __future__ import annotations

import json
import re
from email.message import Message
from pathlib import Path

import pytest

from pipelines.inventory import (
    EXCEPTIONS,
    LicenceRefused,
    Package,
    bill_of_materials,
    check_licences,
    data_licences,
    locked_packages,
    permitted,
    stated_licence,
    write_inventory,
)
from polystilts.errors import MissingData
from polystilts.runtime.folders import sha256
from polystilts.runtime.models_folder import Delivered
from tests.world.bundles import tiny_bundle

LOCK = Path(__file__).resolve().parents[2] / "serving/requirements.lock"


def package(licence: str, name: str = "left-pad") -> Package:
    return Package(name, "1.0", ("0" * 64,), licence, "License-Expression")


def test_every_package_of_the_server_may_be_shipped() -> None:
    packages = locked_packages(LOCK)
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert [(p.name, p.version) for p in packages] == pinned and len(pinned) > 30
    assert all(p.hashes for p in packages)
    assert sum(len(p.hashes) for p in packages) == LOCK.read_text().count("--hash=sha256:")
    entries = check_licences(packages)
    assert {e["name"] for e in entries if "shipped_because" in e} == set(EXCEPTIONS)
    by_name = {e["name"]: e["licence"] for e in entries}
    assert by_name["starlette"] == "BSD-3-Clause" and by_name["onnxruntime"] == "MIT"


@pytest.mark.parametrize(
    ("expression", "may"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("Apache-2.0 AND MIT", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT AND LGPL-2.1-only", False),
        ("(MIT OR GPL-2.0-only) AND AGPL-3.0-only", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("Beerware-9", False),
        ("", False),
        ("All rights reserved", False),
    ],
)
def test_copyleft_and_unknown_licences_are_refused(expression: str, may: bool) -> None:
    assert permitted(expression) is may
    if may:
        assert check_licences([package(expression)])[0]["licence"] == expression
    else:
        shown = re.escape(expression or "unknown")
        with pytest.raises(LicenceRefused, match=rf"left-pad 1\.0 \({shown}\)"):
            check_licences([package("MIT", "fine"), package(expression)])


def test_an_exception_needs_a_reason_and_shows_it() -> None:
    assert check_licences([package("LGPL-3.0-only")], {"left-pad": "linked at run time"}) == [
        {
            "name": "left-pad",
            "version": "1.0",
            "licence": "LGPL-3.0-only",
            "stated_in": "License-Expression",
            "shipped_because": "linked at run time",
        }
    ]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], ("MIT", "License-Expression")),
        (
            [("License", "BSD-3-Clause"), ("Classifier", "License :: OSI Approved :: BSD License")],
            ("BSD-3-Clause", "License"),
        ),
        (
            [("License", "Permission is hereby"), ("Classifier", "License :: OSI Approved :: MIT License")],
            ("MIT", "Classifier"),
        ),
        ([("Classifier", "License :: OSI Approved :: GNU General Public License v3 (GPLv3)")], ("", "")),
        (
            [
                ("Classifier", "License :: OSI Approved :: MIT License"),
                ("Classifier", "License :: Other/Proprietary License"),
            ],
            ("", ""),
        ),
        ([("Classifier", "Programming Language :: Python")], ("", "")),
    ],
)
def test_where_a_licence_is_read(fields: list[tuple[str, str]], found: tuple[str, str]) -> None:
    message = Message()
    for name, value in fields:
        message[name] = value
    assert stated_licence(message) == found


def test_another_version_than_the_installed_one_is_no_source(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.1 \\\n    --hash=sha256:" + "0" * 64 + "\nno-such-package==1\n")
    with pytest.raises(MissingData, match=r"numpy==0\.1 \(installed: .*no-such-package==1 \(not installed\)"):
        locked_packages(lock)


def test_the_bill_names_packages_hashes_and_bundles() -> None:
    lines = {"xnli": Delivered("xnli", "a" * 64, "polystilts-xnli", "7")}
    bill = bill_of_materials([package("MIT")], lines)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["left-pad"]["purl"] == "pkg:pypi/left-pad@1.0"
    assert parts["left-pad"]["licenses"] == [{"expression": "MIT"}]
    assert parts["left-pad"]["externalReferences"][0]["hashes"] == [{"alg": "SHA-256", "content": "0" * 64}]
    bundle = parts["polystilts-xnli@xnli"]
    assert bundle["type"] == "machine-learning-model" and bundle["hashes"][0]["content"] == "a" * 64


def test_data_licences_come_from_the_whole_lineage(tmp_path: Path) -> None:
    from dataclasses import replace

    lineage = {
        "phase": "target",
        "tasks": [{"name": "xnli", "rows": 10, "licence": "CC-BY-NC-4.0"}],
        "parent": {
            "phase": "intermediate",
            "tasks": [{"name": "mnli", "rows": 20, "licence": "OANC"}, {"name": "squad_v1", "rows": 5}],
            "parent": {"phase": "base", "name": "xlm-roberta-base"},
        },
    }
    bundle = replace(tiny_bundle(tmp_path / "bundle", "xnli"), lineage=lineage)
    found = data_licences({"xnli": bundle})["xnli"]
    assert found["base"] == "xlm-roberta-base"
    assert [(t["task"], t["phase"], t["licence"]) for t in found["trained_on"]] == [
        ("xnli", "target", "CC-BY-NC-4.0"),
        ("mnli", "intermediate", "OANC"),
        ("squad_v1", "intermediate", "not recorded"),
    ]


def test_the_same_content_is_written_in_the_same_bytes(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", "xnli")
    lines = {"xnli": Delivered("xnli", bundle.digest, "polystilts-xnli", "1")}
    sums = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written = write_inventory(
            tmp_path / name, lock=LOCK, delivered=lines, bundles={"xnli": bundle}, commit="c0ffee"
        )
        sums.append({path.name: sha256(path) for path in written})
    assert sums[0] == sums[1]
    assert sorted(sums[0]) == ["data-licenses.json", "licenses.json", "provenance.json", "sbom.cdx.json"]
    origin = json.loads((tmp_path / "one" / "provenance.json").read_text())
    assert origin["commit"] == "c0ffee" and origin["lock"]["sha256"] == sha256(LOCK)
    assert origin["bundles"]["xnli"]["digest"] == bundle.digest
