"""Noise curves and robustness of pairs by hand: what is averaged, what is left out, what is written."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console

from polystilts.analysis.robustness import MEAN, confidences_of, noise_curve, pair_robustness
from polystilts.errors import InvalidValue, MissingData
from polystilts.metrics.bank import BankRow, to_json_text
from polystilts.tasks import get_task

PAWSX, XCOPA = get_task("pawsx"), get_task("xcopa")


def bank(right: dict[str, str], *, task: str = "pawsx", probability: float | None = 0.75) -> list[BankRow]:
    """'+' is a right answer, '-' a wrong one; the last row is a choice row."""
    return [
        BankRow(
            task, "mnli", 0, language, str(n), str(n), "choice" if n == len(answers) - 1 else "report",
            to_json_text("1"), to_json_text("1" if answer == "+" else "0"), float(answer == "+"), "clean", probability,
        )
        for language, answers in right.items()
        for n, answer in enumerate(answers)
    ]  # fmt: skip


CLEAN = bank({"en": "++++-", "de": "+++--", "zh": "++---"})
NOISY = bank({"en": "+++--", "de": "++---", "zh": "++---"})
MEASURED = {
    0.1: {code: {"word_rate": 0.1, "character_rate": rate} for code, rate in (("en", 0.02), ("de", 0.04), ("zh", 0.06))}
}


def test_scores_losses_and_measured_rates_of_every_language() -> None:
    curve = noise_curve(PAWSX, "mnli", {0.1: NOISY, 0.0: CLEAN}, MEASURED, resamples=50)
    assert curve.rates == (0.0, 0.1) and curve.averaged == ("de", "zh")
    found = {(v.rate, v.language): v for v in curve.levels}
    assert [found[0.0, code].score.value for code in (MEAN, "en", "de", "zh")] == [62.5, 100.0, 75.0, 50.0]
    assert [found[0.1, code].score.value for code in (MEAN, "en", "de", "zh")] == [50.0, 75.0, 50.0, 50.0]
    losses = [found[0.1, code].loss for code in ("en", "de", "zh", MEAN)]
    # The mean of the languages' losses, English apart.
    assert [loss.value for loss in losses if loss] == pytest.approx([25.0, 100 / 3, 0.0, 50 / 3])
    assert all(found[0.0, code].loss is None for code in (MEAN, "en"))
    assert found[0.1, MEAN].characters == pytest.approx(0.05) and found[0.1, "de"].characters == 0.04
    assert found[0.0, "de"].characters is None
    assert found[0.1, "en"].rows == 4, "report rows alone"
    assert found[0.1, MEAN].rows == 8


def test_identical_banks_lose_nothing() -> None:
    curve = noise_curve(PAWSX, "mnli", {0.0: CLEAN, 0.2: CLEAN}, {}, resamples=50)
    losses = [v.loss for v in curve.levels if v.rate]
    assert all(loss and (loss.value, loss.low, loss.high) == (0.0, 0.0, 0.0) for loss in losses)


def test_a_language_whose_clean_score_is_0_has_no_loss_and_is_named() -> None:
    clean, noisy = bank({"de": "++++", "fr": "----", "zh": "++++"}), bank({"de": "+---", "fr": "+---", "zh": "++++"})
    curve = noise_curve(PAWSX, "mnli", {0.0: clean, 0.1: noisy}, {}, resamples=50)
    found = {v.language: v for v in curve.levels if v.rate}
    assert found["fr"].loss is None and "clean text is 0: fr." in curve.caption
    assert found[MEAN].loss and found[MEAN].loss.value == pytest.approx(100 / 3)


def test_the_mean_leaves_out_the_languages_trained_in() -> None:
    banks = {0.0: CLEAN, 0.1: NOISY}
    assert noise_curve(PAWSX, "mnli", banks, {}, trained=("de", "en"), resamples=20).averaged == ("zh",)
    everything = noise_curve(PAWSX, "mnli", banks, {}, trained=("de", "en", "zh"), resamples=20)
    assert everything.averaged == ("de", "en", "zh"), "there are no others"
    copa = [replace(row, task="xcopa") for row in CLEAN]
    assert noise_curve(XCOPA, "mnli", {0.0: copa}, {}, trained=(), resamples=20).averaged == ("de", "zh")


def test_the_table_and_the_csv_say_the_same() -> None:
    curve = noise_curve(PAWSX, "mnli", {0.0: CLEAN, 0.1: NOISY}, MEASURED, resamples=50)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(curve.table())
    shown = console.export_text()
    assert "10 %" in shown and "50.0 (4.0)" in shown and "33.3 [" in shown
    lines = list(csv.DictReader(io.StringIO(curve.csv())))
    assert len(lines) == 2 * 4
    [line] = [line for line in lines if line["language"] == "de" and line["rate"] == "0.1"]
    assert (line["target"], line["recipe"], line["score"], line["characters"]) == ("pawsx", "mnli", "50", "0.04")
    assert float(line["loss_low"]) <= float(line["loss"]) <= float(line["loss_high"])
    [line] = [line for line in lines if line["language"] == "de" and line["rate"] == "0"]
    assert line["loss"] == line["characters"] == ""


def test_the_picture_shows_the_mean_and_who_loses_most() -> None:
    languages = ("ar", "de", "en", "es", "fr", "ru", "zh")
    clean, noisy = bank(dict.fromkeys(languages, "++++")), bank({code: "-+++" for code in languages} | {"fr": "++++"})
    picture = noise_curve(PAWSX, "mnli", {0.0: clean, 0.1: noisy}, {}, resamples=20).picture()
    assert picture.svg.startswith("<")
    assert [name for name in (MEAN, *languages) if f">{name}<" in picture.svg] == [MEAN, "ar", "de", "en", "es", "ru"]


def test_banks_that_make_no_curve() -> None:
    with pytest.raises(InvalidValue, match="rate 0"):
        noise_curve(PAWSX, "mnli", {0.1: NOISY}, {})
    with pytest.raises(MissingData, match=r"no report rows of pawsx at rate 0\.1"):
        noise_curve(PAWSX, "mnli", {0.0: CLEAN, 0.1: [row for row in NOISY if row.role == "choice"]}, {})
    with pytest.raises(InvalidValue, match="different languages"):
        noise_curve(PAWSX, "mnli", {0.0: CLEAN, 0.1: [row for row in NOISY if row.language != "zh"]}, {})


def test_pairs_that_hold() -> None:
    renamed = [row for row in NOISY if row.language == "de" and row.id in ("0", "2", "3")]
    found = pair_robustness(PAWSX, "mnli", {"clean": CLEAN, "swapped": NOISY, "renamed:0": renamed}, resamples=50)
    held = {(h.condition, h.measure, h.language): h for h in found.held}
    # de: right, right, right, wrong; swapped the third is wrong too.
    assert held["swapped", "agreement", "de"].value == 75.0
    assert held["swapped", "correct_in_both", "de"].value == 50.0
    assert held["swapped", "share", "de"].value == 100.0
    assert held["renamed:0", "share", "de"].value == 75.0 and held["renamed:0", "agreement", "de"].rows == 3
    assert held["renamed:0", "agreement", "de"].value == pytest.approx(200 / 3)
    assert ("renamed:0", "agreement", "en") not in held
    assert held["renamed:0", "share", "en"].value == 0.0 and held["renamed:0", "share", MEAN].value == 25.0
    assert held["clean", "score", MEAN].value == 75.0
    # All confidences are 0.75: in English all are right.
    assert held["clean", "ece_plain", "en"].value == pytest.approx(25.0)
    ece = held["clean", "ece", "en"]
    assert ece.low is not None and ece.high is not None and ece.low <= ece.value <= ece.high
    assert set(found.stabilities) == {"swapped", "renamed:0"}
    assert [h.condition for h in found.held] == sorted(
        (h.condition for h in found.held), key=["clean", "swapped", "renamed:0"].index
    )
    lines = list(csv.DictReader(io.StringIO(found.csv())))
    assert len(lines) == len(found.held)
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(found.table())
    assert "right in both" in console.export_text()


def test_a_condition_without_rows_is_passed_over() -> None:
    found = pair_robustness(PAWSX, "mnli", {"clean": CLEAN, "renamed:0": []}, resamples=20)
    assert {held.condition for held in found.held} == {"clean"}
    with pytest.raises(InvalidValue, match="needs the rows as they are"):
        pair_robustness(PAWSX, "mnli", {"swapped": NOISY})


def test_rows_without_a_probability_take_no_part_in_the_calibration() -> None:
    rows = [replace(row, probability=None) if row.id == "0" else row for row in CLEAN]
    assert {code: len(part.confidence) for code, part in confidences_of(rows).items()} == {"en": 4, "de": 4, "zh": 4}
    assert not confidences_of(bank({"en": "++"}, probability=None))
    found = pair_robustness(PAWSX, "mnli", {"clean": [replace(row, probability=None) for row in CLEAN]}, resamples=20)
    assert {held.measure for held in found.held} == {"score"}
