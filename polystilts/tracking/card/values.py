"""What a version's page says, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from polystilts.tasks.languages import LANGUAGES

Verdict = Literal["ok", "cannot tell", "worse", "not compared"]

NOTHING = "–"

#: What stands above every number of the micro world.
MICRO_NOTE = "The scores of the micro world mean nothing about real languages."


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure in points (0 to 100, or a difference of two such) with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LanguageLine:
    """One language on the report rows.

    Attributes:
        rows: scored report rows.
        to_baseline, to_champion: score minus theirs on the same rows; None where there is none.
        smallest: the smallest true difference that these rows show with 80 % power, in points.
        verdict: against the champion on the choice rows: 'worse' is shown to be by more than the limit, 'cannot tell'
            has an interval that holds such a loss, 'not compared' where there is no champion.
    """

    code: str
    rows: int
    score: Interval
    to_baseline: Interval | None = None
    to_champion: Interval | None = None
    smallest: float | None = None
    verdict: Verdict = "not compared"

    @property
    def name(self) -> str:
        return LANGUAGES[self.code].name if self.code in LANGUAGES else self.code

    @property
    def family(self) -> str:
        return LANGUAGES[self.code].family if self.code in LANGUAGES else NOTHING

    @property
    def script(self) -> str:
        return LANGUAGES[self.code].script if self.code in LANGUAGES else NOTHING

    @property
    def cc100(self) -> str:
        """GiB of the language in XLM-R's training text; 'absent' where it has none."""
        size = LANGUAGES[self.code].cc100 if self.code in LANGUAGES else None
        return NOTHING if size is None else "absent" if size == 0 else f"{size:.1f}"


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One recipe in the comparison on the choice rows, over its seeds. `p` is Holm-adjusted over the recipes."""

    recipe: str
    seeds: int
    mean: Interval
    to_baseline: Interval | None
    to_champion: Interval | None
    p: float | None
    worst: str
    worst_score: float
    verdict: str


@dataclass(frozen=True, slots=True)
class GateLine:
    """One gate; limit and value as they are to be read."""

    name: str
    limit: str
    value: str
    passed: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class DataLine:
    """One training set of the lineage, the base model's own text left out."""

    name: str
    licence: str
    non_commercial: bool = False
    rows: int | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class PrecisionLine:
    """One precision that was tried; losses in points against fp32."""

    recipe: str
    loss: float
    worst: str
    worst_loss: float
    megabytes: float
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """Everything a version's page says.

    Attributes:
        target, title, metric: the task's name and title, and its main metric's title.
        base, recipe, seed, source, precision: which model this is.
        mean: unweighted over the languages other than English, on the report rows; the interval is over rows and speaks
            of this checkpoint.
        to_baseline, to_champion: that mean minus theirs.
        champion: the version it was compared with; '' for none.
        contamination: which evaluation texts the base or an intermediate task has seen.
        parity: figures of the comparison of the bundle with the checkpoint, by name.
        latency_ms, latency_how: per text; on what it was measured.
        lineage: run, parent checkpoints, data revisions, commit, version, by name.
        full: where the whole card is.
    """

    target: str
    title: str
    metric: str
    base: str
    recipe: str
    seed: int
    source: str
    precision: str
    mean: Interval
    languages: tuple[LanguageLine, ...]
    to_baseline: Interval | None = None
    to_champion: Interval | None = None
    champion: str = ""
    decisions: tuple[DecisionLine, ...] = ()
    gates: tuple[GateLine, ...] = ()
    data: tuple[DataLine, ...] = ()
    contamination: str = ""
    precisions: tuple[PrecisionLine, ...] = ()
    parity: tuple[tuple[str, str], ...] = ()
    latency_ms: float | None = None
    latency_how: str = ""
    intended_use: str = ""
    limits: tuple[str, ...] = ()
    lineage: tuple[tuple[str, str], ...] = ()
    full: str = ""

    @property
    def note(self) -> str:
        """What must stand above all numbers; '' for real data."""
        return MICRO_NOTE if self.source == "micro" else ""

    @property
    def averaged(self) -> Sequence[LanguageLine]:
        """The languages in the mean: all but English, unless there is no other."""
        return [line for line in self.languages if line.code != "en"] or self.languages

    @property
    def worst_first(self) -> Sequence[LanguageLine]:
        return sorted(self.languages, key=lambda line: (line.score.value, line.code))
