"""Rows of every task of XTREME and XTREME-R with the forms that break files: the same in every run."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from polystilts.submission import benchmark_tasks, write_labels, write_predictions
from polystilts.tasks import TaskSpec

TEXTS = {
    "en": ["the Eiffel Tower", 'a "quoted\ttext"', "An apple", "1,024 km", "'s"],
    "de": ["der Fluß", "Fluss", "Straße", "STRASSE", "die Äpfel"],
    "th": ["กรุงเทพมหานคร", "แม่น้ำเจ้าพระยา", "ปี ๒๔๗๕", "ช้าง", "ก\u200bข"],
    "zh": ["北京", "长江,黄河", "在北京市", "第3章 ABC", "(1949年)"],
    "ar": ["القاهرة", "في القاهرة", "نهر النيل", "١٩٥٢", "الـ"],
    "hi": ["गंगा नदी", "दिल्ली।", "१९४७", "ज़मीन", "ज\u093cमीन"],
    "vi": ["của Việt Nam", "Việt Nam", "Vie\u0323\u0302t Nam", "những cái cây", "là"],
    "es": ["el río", "unos árboles", "¿Qué?", "los Ángeles", "el ri\u0301o"],
    "tr": ["İstanbul", "istanbul", "ISPARTA", "ısparta", "I"],
    "km": ["ភ្នំពេញ", "ទន្លេមេគង្គ", "អង្គរ\u2028វត្ត", "\u00a0ខ្មែរ", "៥"],
}
MARKS = ["", " ", "...", "the", "\u200f", "¿?", "\r\n"]


def texts(language: str) -> list[str]:
    return [*TEXTS.get(language, [*TEXTS["en"][:2], *TEXTS["km"]]), *MARKS]


def rows_of(spec: TaskSpec, language: str, rng: random.Random) -> tuple[list[str], list[Any], list[Any]]:
    """(ids, golds, predictions); about half of the predictions are right."""
    n = rng.randint(3, 14)
    ids = [f"{language}-{i:05d}" for i in range(n)]
    golds: list[Any]
    predictions: list[Any]
    if spec.format == "tagging":
        lengths = [1, 2, 1, *(rng.randint(1, 12) for _ in range(n - 3))]
        lengths[-1] = 600 if language in ("en", "th") else lengths[-1]
        golds = [rng.choices(spec.labels, k=length) for length in lengths]
        predictions = [[tag if rng.random() < 0.6 else rng.choice(spec.labels) for tag in tags] for tags in golds]
        if language == "wo":
            golds, predictions = [["O"] * len(tags) for tags in golds], [["O"] * len(tags) for tags in golds]
    elif spec.format == "span":
        pool = texts(language)
        golds = [rng.sample(pool, rng.randint(1, 3)) for _ in ids]
        predictions = [rng.choice([*gold, rng.choice(pool), rng.choice(pool) + " " + gold[0], None]) for gold in golds]
        golds[0], predictions[0] = [" ".join(pool * 400)], " ".join(pool * 300)
    elif spec.data == "bucc2018":
        golds = [[f"en-{i}"] if i % 3 else [] for i in range(n)]
        predictions = [rng.choice([gold, [], [f"en-{rng.randint(0, n)}"], None]) for gold in golds]
    elif spec.data == "tatoeba":
        golds, predictions = list(ids), [rng.choice([id, rng.choice(ids), None]) for id in ids]
    elif spec.data in ("mewslix", "lareqa"):
        entities = [f"Q{i}" for i in range(40)]
        golds = [rng.sample(entities, 1 if spec.data == "mewslix" else rng.randint(1, 25)) for _ in ids]
        predictions = [rng.choices(entities, k=rng.choice([0, 5, 20, 30])) for _ in ids]
        predictions[1] = None
    else:
        labels = spec.labels or (0, 1)
        golds = rng.choices(labels, k=n)
        predictions = [rng.choice([gold, rng.choice(labels), None]) for gold in golds]
    return ids, golds, predictions


def write_submission(folder: Path, benchmark: str, *, without: tuple[str, ...] = ()) -> tuple[Path, Path]:
    """Predictions and labels of every task but `without`, in every language."""
    for task, spec in benchmark_tasks(benchmark).items():
        if task in without:
            continue
        for language in spec.benchmarks[benchmark]:
            ids, golds, predictions = rows_of(spec, language, random.Random(f"{task} {language}"))
            write_labels(folder / "labels", benchmark, spec, language, ids, golds)
            extra = ["unknown"] if spec.format == "span" else []
            write_predictions(
                folder / "predictions", benchmark, spec, language, [*ids, *extra], [*predictions, *["x" for _ in extra]]
            )
    return folder / "predictions", folder / "labels"
