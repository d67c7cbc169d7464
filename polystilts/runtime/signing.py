"""Signatures of bundles: ed25519 over the digest of `bundle.json`, in `bundle.sig` beside it.

Checksums say that a bundle is whole, the digest that it is the one that was meant; a signature says who made it, also
to a server whose models folder somebody else can write. Keys are PEM files as OpenSSL writes them::

    openssl genpkey -algorithm ed25519 -out private.pem
    openssl pkey -in private.pem -pubout -out public.pem
    python -m polystilts.runtime.signing BUNDLE_FOLDER private.pem
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

from polystilts.errors import InvalidValue, MissingData, PolystiltsError
from polystilts.runtime.folders import sha256

MANIFEST, SIGNATURE = "bundle.json", "bundle.sig"

#: No key or signature file is longer.
LONGEST_FILE = 10_000


class BadSignature(PolystiltsError):
    """A bundle that is not signed, or not by the key that this server trusts."""

    code = "bad_signature"


def sign(folder: Path, private_key: Path) -> Path:
    """Signs the bundle as it is now; the old signature, if any, is replaced. Returns the signature's file.

    Args:
        private_key: PEM (PKCS 8) without a password.

    Raises:
        MissingData: no bundle, or no key file.
        InvalidValue: no ed25519 key in it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if not (folder / MANIFEST).is_file():
        raise MissingData(f"no bundle in {folder.absolute()}: it has no {MANIFEST}", given=str(folder))
    try:
        key = load_pem_private_key(_read(private_key), password=None)
    except (ValueError, TypeError) as error:
        raise InvalidValue(f"{private_key} is no private key: {error}", param="private_key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidValue(f"{private_key} is no ed25519 key", param="private_key")
    signature = base64.b64encode(key.sign(_message(sha256(folder / MANIFEST)))) + b"\n"
    temporary = folder / f".{SIGNATURE}.{os.getpid()}"
    temporary.write_bytes(signature)
    temporary.chmod(0o444)
    os.replace(temporary, folder / SIGNATURE)
    return folder / SIGNATURE


def verify_signature(folder: Path, public_key: Path, *, digest: str | None = None) -> None:
    """Checks that the owner of a key signed this bundle.

    Args:
        public_key: PEM (SubjectPublicKeyInfo).
        digest: of `bundle.json`, where the caller has it from the very bytes that it reads.

    Raises:
        BadSignature: no signature, or not by this key, or over another manifest.
        MissingData: no key file.
        InvalidValue: no ed25519 key in it, or no library here that could verify.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError:
        raise InvalidValue(
            "a public key is set, but signatures need the package cryptography; no bundle is accepted without it",
            param="public_key",
        ) from None
    try:
        key = load_pem_public_key(_read(public_key))
    except ValueError as error:
        raise InvalidValue(f"{public_key} is no public key: {error}", param="public_key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidValue(f"{public_key} is no ed25519 key", param="public_key")
    place = folder / SIGNATURE
    if not place.is_file() or place.is_symlink():
        raise BadSignature(f"bundle {folder} is not signed: it has no {SIGNATURE}", param=SIGNATURE)
    try:
        signature = base64.b64decode(_read(place).strip(), validate=True)
        key.verify(signature, _message(digest or sha256(folder / MANIFEST)))
    except (ValueError, InvalidSignature):
        raise BadSignature(f"bundle {folder} is not signed by the key in {public_key}", param=SIGNATURE) from None


def _message(digest: str) -> bytes:
    """What is signed; the words keep the signature from meaning anything elsewhere."""
    return f"polystilts bundle {digest}\n".encode()


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise MissingData(f"no such file: {path.absolute()}", given=str(path))
    with path.open("rb") as file:
        return file.read(LONGEST_FILE)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python -m polystilts.runtime.signing BUNDLE_FOLDER PRIVATE_KEY.pem")
    try:
        print(sign(Path(sys.argv[1]), Path(sys.argv[2])))
    except PolystiltsError as error:
        sys.exit(f"error: {error.message}")


if __name__ == "__main__":
    main()
