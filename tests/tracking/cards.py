"""A card with every part, for as many languages as asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from polystilts.tasks.languages import LANGUAGES
from polystilts.tracking.card import (
    Card,
    DataLine,
    DecisionLine,
    GateLine,
    Interval,
    LanguageLine,
    PrecisionLine,
    Verdict,
)


def around(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half)


def line(place: int, code: str) -> LanguageLine:
    verdicts: tuple[Verdict, ...] = ("ok", "ok", "ok", "cannot tell", "ok", "ok", "worse")
    return LanguageLine(
        code,
        rows=1200 + place,
        score=around(82.3 - 1.37 * place, 2.4),
        to_baseline=around(0.91 - 0.11 * place, 1.6),
        to_champion=around(0.4 - 0.07 * place, 1.3),
        smallest=2.25 + 0.1 * place,
        verdict=verdicts[place % 7],
    )


def card(languages: int = 8, **changed: Any) -> Card:
    made = Card(
        target="xnli",
        title="XNLI",
        metric="accuracy",
        base="FacebookAI/xlm-roberta-base@e73636d4f797",
        recipe="mnli+squad_v2",
        seed=13,
        source="hub",
        precision="int8",
        mean=around(70.41, 0.83),
        languages=tuple(line(place, code) for place, code in enumerate(list(LANGUAGES)[:languages])),
        to_baseline=around(1.52, 0.91),
        to_champion=around(-0.35, 0.62),
        champion="17",
        decisions=(
            DecisionLine("baseline", 3, around(68.9, 1.1), None, around(-1.9, 1.2), None, "sw", 57.1, "baseline"),
            DecisionLine("mnli+squad_v2", 3, around(70.5, 1.4), around(1.6, 1.1), None, 0.0213, "ur", 58.8, "chosen"),
            DecisionLine("udpos", 5, around(66.2, 2.3), around(-2.7, 1.7), None, 0.00004, "th", 51.3, "not better"),
        ),
        gates=(
            GateLine("every language scored", "8", "8", True),
            GateLine("low-resource group", "−0.5", "−0.71", False, "worse than version 17 by 0.71, p = 0.031"),
        ),
        data=(
            DataLine("mnli", "OANC", rows=392702, revision="cd7a4b3"),
            DataLine("squad_v2", "CC BY-SA 4.0", non_commercial=True, rows=130319, revision="a1b2c3d"),
        ),
        contamination="CC-100 holds news of the years of XNLI's sources; no intermediate task has seen its rows.",
        precisions=(
            PrecisionLine("int8, per tensor", 0.93, "sw", 2.17, 279.4),
            PrecisionLine("int8, per channel", 0.21, "ur", 0.66, 281.9, chosen=True),
        ),
        parity=(("rows compared", "15,000"), ("disagreements", "1, a near-tie"), ("largest difference", "3.1e-06")),
        latency_ms=9.53,
        latency_how="One text at a time, one thread, median of 1,000 texts of 9 to 213 tokens",
        intended_use="Does a premise entail a hypothesis, in the languages above.",
        limits=("Trained on English alone.", "Texts over 128 pieces are cut."),
        lineage=(("run", "0f3c9a"), ("checkpoint", "target-mnli-0123456789abcdef"), ("commit", "9d2e11f")),
        full="https://mlflow.example.org/artifacts/card.html",
    )
    return replace(made, **changed)
