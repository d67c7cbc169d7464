"""The models of one models folder, opened, tested and ready to answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polystilts.errors import ChecksumMismatch, NotReady, PolystiltsError
from polystilts.formats import Pieces, make_format
from polystilts.formats.values import Example, Prediction, Rejected
from polystilts.runtime.bundle import MANIFEST, Bundle, open_bundle, run_self_test
from polystilts.runtime.models_folder import CURRENT, Delivered, read_current
from polystilts.runtime.ort import OrtBackend
from polystilts.runtime.predictor import Predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A model that answers.

    Attributes:
        delivered: what the registry calls it.
        difference: largest difference found by the self-test when it was loaded.
        created: Unix seconds at which its manifest was written.
    """

    delivered: Delivered
    bundle: Bundle
    predictor: Predictor
    difference: float
    created: int
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def predict(self, examples: Sequence[Example]) -> list[Prediction | Rejected]:
        """Answers in the order given. Blocks: one call at a time has the model, so call it from a thread."""
        with self._turn:
            return self.predictor.predict(examples)


class Runtime:
    """The models of a server.

    Args:
        served: one model a target.
        failed: targets whose bundle was refused, and why; they keep the server not ready.
    """

    def __init__(self, served: Iterable[Served], failed: Mapping[str, PolystiltsError] | None = None) -> None:
        self._served = {model.delivered.target: model for model in served}
        self._failed = dict(failed or {})
        self._closed = False

    @classmethod
    def open(cls, models: Path, *, threads: int = 0, public_key: Path | None = None) -> Runtime:
        """Opens, verifies and tests what ``current.json`` names; a bundle that fails is left out.

        Args:
            models: the models folder.
            threads: threads of one model call; 0 = all cores this process may use.
            public_key: of the key that must have signed every bundle.

        Raises:
            MissingData: no models folder.
        """
        shared: dict[str, Pieces] = {}
        served: list[Served] = []
        failed: dict[str, PolystiltsError] = {}
        for target, delivered in read_current(models).items():
            try:
                served.append(_load(delivered, models, shared, threads, public_key))
            except PolystiltsError as error:
                logger.exception("the bundle of %s is refused", target)
                failed[target] = error
        return cls(served, failed)

    @property
    def served(self) -> list[Served]:
        """Every model that answers, by target."""
        return [self._served[target] for target in sorted(self._served)]

    @property
    def ready(self) -> bool:
        """Every current bundle passed its checks, and the server is not stopping."""
        return bool(self._served) and not self._failed and not self._closed

    def check_ready(self) -> None:
        """Does nothing when `ready`.

        Raises:
            NotReady: saying why.
        """
        if self._closed:
            raise NotReady("the server is stopping")
        if self._failed:
            reasons = [f"{target} ({error.code})" for target, error in sorted(self._failed.items())]
            raise NotReady(f"bundles refused: {', '.join(reasons)}", param=",".join(sorted(self._failed)))
        if not self._served:
            raise NotReady("there are no models")

    def close(self) -> None:
        """Not ready from now on; requests that are being answered keep their model."""
        self._closed = True


def _load(
    delivered: Delivered, models: Path, shared: dict[str, Pieces], threads: int, public_key: Path | None
) -> Served:
    bundle = open_bundle(delivered.folder(models), digest=delivered.digest, public_key=public_key)
    if bundle.target != delivered.target:
        raise ChecksumMismatch(f"{CURRENT} names a bundle of {bundle.target} for {delivered.target}", param="target")
    # A tokenizer of 250,002 pieces takes half a gigabyte: bundles with the same one share it.
    key = bundle.files["tokenizer.json"]
    if key not in shared:
        shared[key] = Pieces.open(bundle.folder)
    predictor = Predictor(make_format(shared[key], bundle.settings), OrtBackend(bundle.folder, threads=threads))
    difference = run_self_test(bundle, predictor)
    created = int((bundle.folder / MANIFEST).stat().st_mtime)
    return Served(delivered, bundle, predictor, difference, created)
