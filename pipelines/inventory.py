"""What is in a bento, for those who must know: software bill of materials, licences, origins.

Nothing here depends on the time or on chance, so that the same content is the same bento.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from license_expression import ExpressionError, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing
from packageurl import PackageURL

from polystilts import __version__
from polystilts.errors import InvalidValue, MissingData, PolystiltsError
from polystilts.runtime.bundle import Bundle
from polystilts.runtime.folders import parse_json, sha256, write_json
from polystilts.runtime.models_folder import Delivered

#: Licences that may be shipped without a further thought: none asks for more than its own text.
#: MPL-2.0 asks for the sources of changed files of its own; nothing is changed here.
PERMISSIVE = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear", "CC0-1.0", "ISC", "LicenseRef-BSD",
        "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
    }
)  # fmt: skip

#: Packages that are shipped although their licence is not PERMISSIVE, and why that is right.
EXCEPTIONS: Mapping[str, str] = {}

#: How metadata older than SPDX expressions spell a licence, in lower case. 'BSD' does not say which one.
SPELLINGS: Mapping[str, str] = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "LicenseRef-BSD",
    "bsd license": "LicenseRef-BSD",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_SPDX = get_spdx_licensing()


class LicenceRefused(PolystiltsError):
    """A package that would be shipped has a licence that is unknown or asks for more than its own text."""

    code = "licence"


@dataclass(frozen=True)
class Package:
    """One line of a lock file.

    Attributes:
        hashes: sha256 of the distributions that may be installed.
        licence: as an SPDX expression; '' = its metadata do not say.
        stated_in: the field of its metadata that says so.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    licence: str
    stated_in: str


def locked_packages(lock: Path) -> list[Package]:
    """The packages of a lock file, with the licences that their installed metadata state.

    Raises:
        MissingData: one is not installed here in the locked version, so its licence cannot be read.
    """
    text = lock.read_text(encoding="utf-8")
    pins = list(_PIN.finditer(text))
    packages, absent = [], []
    for pin, following in zip(pins, [*pins[1:], None], strict=True):
        name, version = pin.groups()
        try:
            installed = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            absent.append(f"{name}=={version} (not installed)")
            continue
        if installed["Version"] != version:
            absent.append(f"{name}=={version} (installed: {installed['Version']})")
            continue
        hashes = _HASH.findall(text, pin.end(), following.start() if following else len(text))
        packages.append(Package(name, version, tuple(sorted(hashes)), *stated_licence(installed)))
    if absent:
        raise MissingData(
            f"licences are read from installed packages, and {lock.name} has others than this environment: "
            f"{', '.join(absent)}; install it with: pip install -r {lock.name}",
            given=absent,
        )
    return packages


def stated_licence(installed: Any) -> tuple[str, str]:
    """SPDX expression and the field that states it, of a package's metadata; ('', '') where none can be understood.

    The expression comes first, then classifiers (a fixed vocabulary), then the free text.
    """
    if found := installed.get("License-Expression"):
        return str(found), "License-Expression"
    classifiers = [line.split(" :: ")[-1] for line in installed.get_all("Classifier") or [] if line.startswith("Lic")]
    known = [SPELLINGS[name.lower()] for name in classifiers if name.lower() in SPELLINGS]
    text = " ".join((installed.get("License") or "").split())
    if (spelled := SPELLINGS.get(text.lower(), text)) and _parsed(spelled) is not None:
        # More exact than a classifier where that says 'BSD' only.
        return spelled, "License"
    if known and len(known) == len(classifiers):
        return " AND ".join(dict.fromkeys(known)), "Classifier"
    return "", ""


def _parsed(expression: str) -> Any:
    """The parsed expression; None for one that is no SPDX expression."""
    known = expression.replace("LicenseRef-BSD", "BSD-3-Clause")
    try:
        _SPDX.parse(known, validate=True, strict=True)
        return _SPDX.parse(expression)
    except ExpressionError:
        return None


def permitted(expression: str) -> bool:
    """Whether an SPDX expression leaves a way in which every licence that binds is PERMISSIVE."""

    def check(part: Any) -> bool:
        if isinstance(part, LicenseWithExceptionSymbol):  # an exception only takes conditions away
            part = part.license_symbol
        if isinstance(part, LicenseSymbol):
            return part.key in PERMISSIVE
        choose = any if part.operator.strip() == "OR" else all
        return choose(check(argument) for argument in part.args)

    parsed = _parsed(expression) if expression else None
    return parsed is not None and check(parsed)


def check_licences(packages: Iterable[Package], exceptions: Mapping[str, str] = EXCEPTIONS) -> list[dict[str, Any]]:
    """What ``licenses.json`` says, one entry a package.

    Raises:
        LicenceRefused: naming every package whose licence is unknown or not permissive.
    """
    entries, refused = [], []
    for package in packages:
        entry: dict[str, Any] = {"name": package.name, "version": package.version}
        entry |= {"licence": package.licence, "stated_in": package.stated_in}
        if package.name in exceptions:
            entry["shipped_because"] = exceptions[package.name]
        elif not permitted(package.licence):
            refused.append(f"{package.name} {package.version} ({package.licence or 'unknown'})")
        entries.append(entry)
    if refused:
        raise LicenceRefused(
            f"licences that may not be shipped: {', '.join(refused)}; if one is right, say why in EXCEPTIONS of "
            "pipelines/inventory.py",
            given=refused,
        )
    return entries


def bill_of_materials(packages: Iterable[Package], bundles: Mapping[str, Delivered]) -> dict[str, Any]:
    """A CycloneDX 1.6 document: the locked packages and the bundles; without a time and a serial number."""
    bom = Bom()
    server = Component(name="polystilts", version=__version__, type=ComponentType.APPLICATION, bom_ref="polystilts")
    bom.metadata.component = server
    components = [_package_component(package) for package in packages]
    components += [
        Component(
            name=f"{line.name}@{key}",
            version=line.version,
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=f"bundle:{key}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=line.digest)],
        )
        for key, line in bundles.items()
    ]
    bom.components.update(components)
    bom.register_dependency(server, components)
    document = parse_json(JsonV1Dot6(bom).output_as_string().encode(), Path("sbom.cdx.json"))
    document.pop("serialNumber", None)
    document["metadata"].pop("timestamp", None)
    return dict(document)


def _package_component(package: Package) -> Component:
    url = PackageURL("pypi", name=package.name, version=package.version)
    page = f"https://pypi.org/project/{package.name}/{package.version}/"
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=value) for value in package.hashes]
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(url),
        purl=url,
        licenses=[LicenseExpression(package.licence)] if package.licence else [],
        external_references=[
            ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(page), hashes=hashes)
        ],
    )


def data_licences(bundles: Mapping[str, Bundle]) -> dict[str, Any]:
    """What ``data-licenses.json`` says: by key, the base and every set that the bundle was trained on, latest first."""
    return {
        key: {
            "base": next((step.get("base") or step.get("name") for step in _steps(bundle.lineage, last=True)), None),
            "trained_on": [
                {
                    "task": task.get("name"),
                    "phase": step.get("phase"),
                    "rows": task.get("rows"),
                    "licence": task.get("licence") or "not recorded",
                }
                for step in _steps(bundle.lineage)
                for task in step.get("tasks") or ()
                if isinstance(task, Mapping)
            ],
        }
        for key, bundle in bundles.items()
    }


def _steps(lineage: Any, *, last: bool = False) -> Iterator[Mapping[str, Any]]:
    """A checkpoint's lineage and its parents'; with `last`, the base alone."""
    while isinstance(lineage, Mapping):
        parent = lineage.get("parent")
        if not last or not isinstance(parent, Mapping):
            yield lineage
        lineage = parent


def write_inventory(
    folder: Path, *, lock: Path, delivered: Mapping[str, Delivered], bundles: Mapping[str, Bundle], commit: str
) -> Sequence[Path]:
    """Writes the four documents of a bento; returns their paths.

    Args:
        folder: exists.
        lock: of the packages that are shipped.
        delivered, bundles: by key of ``current.json``.
        commit: of the code.

    Raises:
        MissingData: a locked package is not installed here.
        LicenceRefused: a licence that may not be shipped.
    """
    if delivered.keys() != bundles.keys():
        raise InvalidValue("every delivered line has a bundle", given=sorted(delivered.keys() ^ bundles.keys()))
    packages = locked_packages(lock)
    documents: Mapping[str, Any] = {
        "licenses.json": check_licences(packages),
        "sbom.cdx.json": bill_of_materials(packages, delivered),
        "data-licenses.json": data_licences(bundles),
        "provenance.json": {
            "version": __version__,
            "commit": commit or None,
            "python": python_version(),
            "lock": {"file": lock.name, "sha256": sha256(lock)},
            "bundles": {key: asdict(line) for key, line in delivered.items()},
        },
    }
    for name, document in documents.items():
        write_json(folder / name, document)
    return [folder / name for name in documents]
