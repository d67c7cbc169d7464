"""Signatures of bundles, with keys that OpenSSL or the library makes."""

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from polystilts.errors import InvalidValue, MissingData, NotReady
from polystilts.runtime.bundle import MANIFEST, open_bundle, write_manifest
from polystilts.runtime.folders import read_json, sha256, write_json
from polystilts.runtime.models_folder import deliver
from polystilts.runtime.signing import SIGNATURE, BadSignature, sign, verify_signature
from serving.runtime import Runtime
from serving.settings import Settings
from tests.world.bundles import tiny_bundle


def key_pair(folder, name, kind=ed25519.Ed25519PrivateKey.generate):
    key = kind()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: key_pair(folder, name) for name in ("ours", "theirs")}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "xnli", "xnli").folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "bundle")


def test_a_signed_bundle_opens_with_the_key_and_keeps_its_digest(folder, keys):
    private, public = keys["ours"]
    digest = sha256(folder / MANIFEST)
    assert sign(folder, private) == folder / SIGNATURE
    verify_signature(folder, public)
    assert open_bundle(folder, digest=digest, public_key=public).digest == digest
    assert open_bundle(folder).digest == digest, "who has no key needs none"


def test_signing_again_replaces(folder, keys):
    sign(folder, keys["theirs"][0])
    sign(folder, keys["ours"][0])
    verify_signature(folder, keys["ours"][1])
    assert sorted(p.name for p in folder.iterdir()).count(SIGNATURE) == 1
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_an_unsigned_bundle_is_refused(folder, keys):
    with pytest.raises(BadSignature, match=r"is not signed: it has no bundle\.sig") as caught:
        open_bundle(folder, public_key=keys["ours"][1])
    assert caught.value.param == SIGNATURE


def test_the_signature_of_another_key_is_refused(folder, keys):
    sign(folder, keys["theirs"][0])
    with pytest.raises(BadSignature, match="not signed by the key"):
        open_bundle(folder, public_key=keys["ours"][1])


def test_a_manifest_rewritten_with_all_its_sums_is_refused(folder, keys):
    sign(folder, keys["ours"][0])
    (folder / "tokenizer.json").write_text("{}")
    files = read_json(folder / MANIFEST)["files"] | {"tokenizer.json": sha256(folder / "tokenizer.json")}
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | {"files": files})
    open_bundle(folder)  # sums alone do not find it
    with pytest.raises(BadSignature, match="not signed by the key"):
        open_bundle(folder, public_key=keys["ours"][1])


def test_the_signature_of_another_bundle_is_refused(folder, keys, tmp_path):
    other = tiny_bundle(tmp_path / "other", "udpos").folder
    shutil.copyfile(sign(other, keys["ours"][0]), folder / SIGNATURE)
    with pytest.raises(BadSignature, match="not signed by the key"):
        verify_signature(folder, keys["ours"][1])


@pytest.mark.parametrize("content", [b"", b"AAAA", b"not base64!", b"\xff" * 64, b"A" * 10**6])
def test_what_is_no_signature_is_refused(folder, keys, content):
    (folder / SIGNATURE).write_bytes(content)
    with pytest.raises(BadSignature):
        open_bundle(folder, public_key=keys["ours"][1])


def test_one_flipped_bit_is_refused(folder, keys):
    raw = bytearray(base64.b64decode(sign(folder, keys["ours"][0]).read_bytes()))
    raw[10] ^= 1
    (folder / SIGNATURE).unlink()
    (folder / SIGNATURE).write_bytes(base64.b64encode(raw))
    with pytest.raises(BadSignature):
        verify_signature(folder, keys["ours"][1])


def test_a_bare_signature_of_the_digest_does_not_count(folder, keys):
    """A key that signs digests elsewhere has not signed a bundle by it."""
    key = serialization.load_pem_private_key(keys["ours"][0].read_bytes(), password=None)
    (folder / SIGNATURE).write_bytes(base64.b64encode(key.sign(sha256(folder / MANIFEST).encode())))
    with pytest.raises(BadSignature):
        verify_signature(folder, keys["ours"][1])


def test_a_new_manifest_drops_the_old_signature(folder, keys):
    sign(folder, keys["ours"][0])
    bundle = open_bundle(folder)
    write_manifest(
        folder,
        target=bundle.target,
        settings=bundle.settings,
        precision=bundle.precision,
        lineage=bundle.lineage,
        self_test=bundle.self_test,
    )
    assert not (folder / SIGNATURE).exists() and SIGNATURE not in open_bundle(folder).files


def test_key_files_that_are_refused(folder, keys, tmp_path):
    private, public = keys["ours"]
    curve, curve_public = key_pair(tmp_path, "curve", lambda: ec.generate_private_key(ec.SECP256R1()))
    (tmp_path / "text").write_text("key")
    sign(folder, private)
    for wrong, match in ((curve, "no ed25519 key"), (tmp_path / "text", "no private key"), (public, "no private key")):
        with pytest.raises(InvalidValue, match=match):
            sign(folder, wrong)
    for wrong in (curve_public, tmp_path / "text", private):
        with pytest.raises(InvalidValue, match=r"no ed25519 key|no public key"):
            verify_signature(folder, wrong)
    for call in (sign, verify_signature):
        with pytest.raises(MissingData, match="no such file"):
            call(folder, tmp_path / "absent")
    with pytest.raises(MissingData, match=r"no bundle\.json|has no bundle\.json"):
        sign(tmp_path, private)


def test_without_the_library_nothing_is_accepted(folder, keys, monkeypatch):
    sign(folder, keys["ours"][0])
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(InvalidValue, match="need the package cryptography"):
        open_bundle(folder, public_key=keys["ours"][1])


def test_the_server_refuses_unsigned_bundles_when_a_key_is_set(folder, keys, tmp_path):
    private, public = keys["ours"]
    settings = Settings.from_environment({"POLYSTILTS_PUBLIC_KEY": str(public)})
    assert settings.public_key == public and Settings.from_environment({}).public_key is None
    delivered = deliver(open_bundle(folder), tmp_path / "models", name="polystilts-xnli", version="1")
    assert Runtime.open(Settings(models=tmp_path / "models")).ready
    refused = Runtime.open(Settings(models=tmp_path / "models", public_key=settings.public_key))
    with pytest.raises(NotReady, match=r"xnli \(bad_signature\)"):
        refused.check_ready()
    sign(delivered.folder(tmp_path / "models"), private)
    assert Runtime.open(Settings(models=tmp_path / "models", public_key=settings.public_key)).ready
    absent = Runtime.open(Settings(models=tmp_path / "models", public_key=tmp_path / "absent"))
    with pytest.raises(NotReady, match="missing_data"):
        absent.check_ready()


def test_a_pointer_to_the_signed_bundle_of_another_target_is_refused(folder, tmp_path):
    models = tmp_path / "models"
    deliver(open_bundle(folder), models, name="polystilts-xnli", version="1")
    shutil.copytree(models / "xnli", models / "pawsx")
    line = read_json(models / "current.json")["xnli"]
    write_json(models / "current.json", {"pawsx": line | {"target": "pawsx"}})
    with pytest.raises(NotReady, match=r"pawsx \(checksum_mismatch\)"):
        Runtime.open(Settings(models=models)).check_ready()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")
def test_keys_of_openssl_and_the_command(folder, tmp_path):
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    command = [sys.executable, "-m", "polystilts.runtime.signing", folder, private]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == str(folder / SIGNATURE), done.stderr
    verify_signature(folder, public)
    done = subprocess.run([*command[:-1], public], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1 and "is no private key" in done.stderr
