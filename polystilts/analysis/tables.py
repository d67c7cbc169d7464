"""The tables of a `Summary`, for a terminal and as GitHub markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from polystilts.analysis.summary import Cell, Summary, TargetResult

NOTHING = "–"

# Usual widths in characters, gaps included, from which the number of columns follows.
_FIXED_COLUMNS = 39
_RECIPE_COLUMN = 20
_LABEL_COLUMN = 16
_LANGUAGE_COLUMN = 8


def render(summary: Summary, console: Console) -> None:
    """Print the main table and one table of languages for each target, broken to the console's width."""
    if summary.banner:
        console.print(Text(summary.banner, style="bold"))
        console.print()
    others = [recipe for recipe in summary.recipes if recipe != "baseline"]
    for group in _groups(others, (console.width - _FIXED_COLUMNS) // _RECIPE_COLUMN):
        console.print(Text(_title(), style="bold"))
        console.print(_main_table(summary, group))
        console.print()
    console.print(Text(summary.caption, style="dim"))
    for result in summary.targets:
        console.print()
        console.print(Text(_language_title(result), style="bold"))
        for languages in _groups(list(result.rows), (console.width - _LABEL_COLUMN) // _LANGUAGE_COLUMN):
            console.print(_language_table(summary, result, languages))
    console.print()
    console.print(Text(_language_note(summary), style="dim"))


def markdown(summary: Summary) -> str:
    """The same tables as GitHub markdown."""
    others = [recipe for recipe in summary.recipes if recipe != "baseline"]
    parts = [f"**{summary.banner}**"] if summary.banner else []
    parts.append(f"### {_title()}")
    head = ["target", "metric", "n", "trivial", "baseline", *(f"`{recipe}`" for recipe in others)]
    body = [
        [
            f"`{result.target}`",
            result.metric,
            str(len(result.zero_shot)),
            _number(result.trivial),
            *(" ".join(_cell_lines(result, recipe)) for recipe in ("baseline", *others)),
        ]
        for result in summary.targets
    ]
    parts += [_pipes(head, body, left=2), summary.caption]
    for result in summary.targets:
        parts.append(f"### {_language_title(result)}")
        parts.append(_pipes(["", *result.rows], _language_lines(summary, result, list(result.rows)), left=1))
    parts.append(_language_note(summary))
    return "\n\n".join(parts) + "\n"


def _title() -> str:
    return "Zero-shot mean and difference to the baseline (one seed, report rows)"


def _language_title(result: TargetResult) -> str:
    return f"{result.target}: {result.metric} by language"


def _language_note(summary: Summary) -> str:
    return (
        "n rows: scored report rows. can show: the smallest true difference to the baseline, in points, that "
        f"these rows reveal with 80 % power. One seed ({summary.seed})."
    )


def _table(*, leading: int = 0) -> Table:
    return Table(box=box.SIMPLE_HEAD, leading=leading, show_edge=False, pad_edge=False)


def _main_table(summary: Summary, recipes: Sequence[str]) -> Table:
    table = _table(leading=1)
    table.add_column("target (n)", no_wrap=True)
    table.add_column("trivial", justify="right", no_wrap=True)
    for recipe in ("baseline", *recipes):
        table.add_column(recipe, justify="right", overflow="fold")
    for result in summary.targets:
        table.add_row(
            f"{result.target} ({len(result.zero_shot)})\n{result.metric}",
            _number(result.trivial),
            *(_styled_cell(result, recipe) for recipe in ("baseline", *recipes)),
        )
    return table


def _styled_cell(result: TargetResult, recipe: str) -> Text:
    return Text("\n", justify="right").join(
        Text(line, style=_difference_style(result, recipe)) for line in _cell_lines(result, recipe)
    )


def _difference_style(result: TargetResult, recipe: str) -> str:
    cell = result.cells.get(recipe)
    if cell is None or cell.difference is None or result.tells_nothing(recipe) or 0.0 in cell.difference:
        return ""
    return "green" if cell.difference.value > 0 else "red"


def _cell_lines(result: TargetResult, recipe: str) -> list[str]:
    """``54.2 +3.1 floor =`` and ``[+0.4, +5.8]``, the interval of the difference; of the baseline its own."""
    cell = result.cells.get(recipe)
    if cell is None or cell.mean is None:
        return [NOTHING]
    words, interval = [_number(cell.mean.value)], f"[{_number(cell.mean.low)}, {_number(cell.mean.high)}]"
    if cell.difference is not None:
        difference = _signed(cell.difference.value)
        words.append(f"({difference})" if result.tells_nothing(recipe) else difference)
        interval = f"[{_signed(cell.difference.low)}, {_signed(cell.difference.high)}]"
    return [" ".join(words + _marks(cell)), interval]


def _marks(cell: Cell) -> list[str]:
    return ["floor"] * cell.floor + ["="] * cell.same


def _language_table(summary: Summary, result: TargetResult, languages: Sequence[str]) -> Table:
    table = _table()
    table.add_column("", no_wrap=True)
    for language in languages:
        table.add_column(language, justify="right", no_wrap=True)
    for label, *values in _language_lines(summary, result, languages):
        table.add_row(label, *values)
    return table


def _language_lines(summary: Summary, result: TargetResult, languages: Sequence[str]) -> list[list[str]]:
    lines = [["trivial", *(_number(result.trivial_by_language.get(language)) for language in languages)]]
    for recipe in summary.recipes:
        if (cell := result.cells.get(recipe)) is not None:
            lines.append(
                [
                    recipe + " =" * cell.same,
                    *(_number(cell.by_language[language].value) for language in languages),
                ]
            )
    lines.append(["n rows", *(str(result.rows[language]) for language in languages)])
    if result.smallest:
        lines.append(["can show", *(_number(result.smallest[language]) for language in languages)])
    return lines


def _groups(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    """`names` in parts of at most `size`, as even as can be; one empty part if there are none."""
    parts = max(1, -(-len(names) // max(1, size)))
    step = -(-len(names) // parts) or 1
    return [names[start : start + step] for start in range(0, max(1, len(names)), step)]


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


def _signed(value: float) -> str:
    """One decimal with its sign; what rounds to nothing is ``0.0``."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """A markdown table whose first `left` columns are aligned left."""
    rule = [":--" if column < left else "--:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))
