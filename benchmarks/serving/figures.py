"""The figures of the serving benchmark, what each shall be, and the table that says whether it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from benchmarks.serving import limits, speed
from benchmarks.serving.bench import Bench, Figures

#: What measures, by the name that ``--only`` takes.
ROWS: Mapping[str, Callable[[Bench], Figures]] = {
    "throughput": speed.throughput,
    "mlflow": speed.against_mlflow,
    "added": speed.added,
    "mixed": speed.mixed,
    "overload": limits.overload,
    "memory": limits.memory,
    "start": limits.start,
    "swap": limits.swap,
    "batches": limits.batches,
}

#: Each figure's row, what it shall be (None: it stands beside another) and what it is.
FIGURES: Mapping[str, tuple[str, tuple[str, float] | None, str]] = {
    "http_over_bare_c32": ("throughput", (">=", 0.85), "texts/s of 32 clients over the best of the bare session"),
    "http_over_bare_c8": ("throughput", (">=", 0.80), "texts/s of 8 clients over the best of the bare session"),
    "http_over_bare_c1": ("throughput", (">=", 0.85), "texts/s of 1 client over the bare session, one call at a time"),
    "http_over_mlflow_c8": ("mlflow", (">=", 9), "texts/s of 8 clients over `mlflow models serve`, transformers fp32"),
    "http_over_mlflow_c32": ("mlflow", (">=", 9), "the same, 32 clients"),
    "http_over_pyfunc_c8": ("mlflow", None, "texts/s of 8 clients over `mlflow models serve`, our pyfunc"),
    "http_over_pyfunc_c32": ("mlflow", None, "the same, 32 clients"),
    "added_ms_p50": ("added", ("<=", 1.5), "ms over the session's call, 1 client, at most 20 tokens: median"),
    "added_ms_p99": ("added", ("<=", 4), "the same: p99"),
    "short_p95_ratio": ("mixed", ("<=", 2), "p95 of short texts beside documents over unloaded: worst of four"),
    "document_share": ("mixed", (">=", 0.45), "documents/s beside short texts over documents alone: worst of four"),
    "overload_within_50ms": ("overload", (">=", 1), "share answered, or refused within 50 ms, at 10 x capacity"),
    "overload_goodput": ("overload", (">=", 0.6), "answers/s over capacity meanwhile"),
    "overload_memory_mb": ("overload", ("<=", 100), "MB of PSS more than before"),
    "overload_recovery_s": ("overload", ("<=", 2), "s until latency is normal again"),
    "pss_mb": ("memory", None, "MB of PSS of all server processes, six models after use"),
    "pss_mb_over_files": ("memory", ("<=", 1), "the same over (1.15 x files + 700 MB)"),
    "ready_s": ("start", ("<=", 8), "s from start to ready, one model"),
    "swap_failed": ("swap", ("==", 0), "requests that failed while models were swapped"),
    "swap_p99_ratio": ("swap", ("<=", 2), "p99 during swaps over before"),
    "batch_difference": ("batches", ("==", 0), "largest difference of a probability, alone or in company"),
}


def reached(key: str, value: float | None) -> bool | None:
    """Whether a figure is what it shall be; None where there is no figure or no target."""
    target = FIGURES[key][1]
    if value is None or target is None:
        return None
    sign, limit = target
    return {">=": value >= limit, "<=": value <= limit, "==": value == limit}[sign]


def rounded(value: float) -> float | None:
    """Four significant digits; None for what JSON has no number for. Only an exact zero becomes 0."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def merged(old: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], new: Mapping[str, float | None]) -> Any:
    """Figures and row details of this run, and those of earlier runs for rows that were not measured now.

    Args:
        old: the earlier result, {} where there is none.
        rows: details of the rows measured now.

    Returns:
        figures with exactly the keys of FIGURES, and details by row.
    """
    figures = {
        key: new.get(key) if row in rows else old.get("figures", {}).get(key) for key, (row, _, _) in FIGURES.items()
    }
    known = old.get("rows", {})
    return figures, {row: rows.get(row, known.get(row)) for row in ROWS if row in rows or row in known}


def table(figures: Mapping[str, float | None], rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """The figures of these rows, one a line."""
    shown = Table(title="Serving", show_lines=False)
    for heading in ("figure", "value", "target", "", "what"):
        shown.add_column(heading, justify="right" if heading in ("value", "target") else "left", overflow="fold")
    words = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}
    for key, (row, target, what) in FIGURES.items():
        if row in rows:
            value = figures[key]
            text = "not measured" if value is None else f"{value:g}"
            shown.add_row(key, text, "{} {:g}".format(*target) if target else "", words[reached(key, value)], what)
    return shown
