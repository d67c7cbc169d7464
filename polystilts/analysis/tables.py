"""The tables of a `Summary`, for a terminal and as GitHub markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from polystilts.analysis.summary import Cell, Summary, TargetResult

NOTHING = "–"

#: Characters of a recipe's name that a table still has room for; a longer one is numbered and named in a legend.
LONGEST_NAME = 20

#: Further figures (`Metric.details`) as a table names them; ``f1_LABEL`` is the F1 of a label.
FIGURES: Mapping[str, str] = {
    "pos_f1": "F1, seqeval 1.2.2 (evaluate.py)",
    "pos_f1_whole_tag": "F1, seqeval 0.0.12 (whole tag)",
    "token_accuracy": "token accuracy",
    "macro_f1": "macro-F1 over tags",
    "span_f1": "F1, seqeval 1.2.2 (evaluate.py)",
    "mining_f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "exact_match": "exact match",
    "f1": "F1",
}

# Blanks between two columns.
_GAP = 3


def short_names(recipes: Sequence[str]) -> dict[str, str]:
    """Every recipe's name in the tables: its own, or of a long one ``mix N`` (``recipe N`` if it is no mixture)."""
    long = [recipe for recipe in recipes if len(recipe) > LONGEST_NAME]
    numbered = {recipe: f"{'mix' if '+' in recipe else 'recipe'} {place}" for place, recipe in enumerate(long, 1)}
    return {recipe: numbered.get(recipe, recipe) for recipe in recipes}


def render(summary: Summary, console: Console) -> None:
    """Print the main table and the tables of each target, broken to the console's width."""
    if summary.banner:
        console.print(Text(summary.banner, style="bold"))
        console.print()
    names = short_names(summary.recipes)
    others = [recipe for recipe in summary.recipes if recipe != "baseline"]
    columns = {recipe: _recipe_width(summary, recipe, names[recipe]) for recipe in summary.recipes}
    fixed = max((len(_target_line(result)) for result in summary.targets), default=0) + len("trivial") + _GAP
    room = console.width - fixed - _GAP - columns.get("baseline", len("baseline"))
    for group in _fitting(others, columns, room):
        console.print(Text(_title(), style="bold"))
        console.print(_main_table(summary, group, names))
        console.print()
    for short, full in _legend(names).items():
        # Broken behind a '+', so that no task's name is cut.
        lines = textwrap.wrap(f"{short}: {full.replace('+', '+ ')}", console.width, break_on_hyphens=False)
        console.print(Text("\n".join(line.replace("+ ", "+") for line in lines)))
    console.print(Text(summary.caption, style="dim"))
    for result in summary.targets:
        console.print()
        console.print(Text(_language_title(result), style="bold"))
        everything = _language_lines(result, list(result.rows), names)
        widths = dict(zip(["", *result.rows], _widths([["", *result.rows], *everything]), strict=True))
        for languages in _fitting(list(result.rows), widths, console.width - widths[""]):
            console.print(_plain_table(["", *languages], _language_lines(result, languages, names)))
        if not _has_figures(result):
            continue
        console.print()
        console.print(Text(_figures_title(result), style="bold"))
        given = [recipe for recipe in summary.recipes if recipe in result.cells]
        heads = {recipe: max(len(names[recipe]), len("100.0")) for recipe in given}
        label = max(len(line[0]) for line in _figure_lines(result, []))
        for group in _fitting(given, heads, console.width - label - _GAP - len("trivial")):
            head = ["", "trivial", *(names[recipe] for recipe in group)]
            console.print(_plain_table(head, _figure_lines(result, group)))
    console.print()
    console.print(Text(_language_note(summary), style="dim"))


def markdown(summary: Summary) -> str:
    """The same tables as GitHub markdown."""
    names = short_names(summary.recipes)
    others = [recipe for recipe in summary.recipes if recipe != "baseline"]
    parts = [f"**{summary.banner}**"] if summary.banner else []
    parts.append(f"### {_title()}")
    head = ["target", "metric", "n", "trivial", "baseline", *(_code(names, recipe) for recipe in others)]
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
    parts.append(_pipes(head, body, left=2))
    if legend := _legend(names):
        parts.append("\n".join(f"- {short}: `{full}`" for short, full in legend.items()))
    parts.append(summary.caption)
    for result in summary.targets:
        parts.append(f"### {_language_title(result)}")
        parts.append(_pipes(["", *result.rows], _language_lines(result, list(result.rows), names), left=1))
        if _has_figures(result):
            given = [recipe for recipe in summary.recipes if recipe in result.cells]
            head = ["", "trivial", *(names[recipe] for recipe in given)]
            parts += [f"{_figures_title(result)}:", _pipes(head, _figure_lines(result, given), left=1)]
    parts.append(_language_note(summary))
    return "\n\n".join(parts) + "\n"


def _title() -> str:
    return "Zero-shot mean and difference to the baseline (one seed, report rows)"


def _language_title(result: TargetResult) -> str:
    return f"{result.target}: {result.metric} by language"


def _figures_title(result: TargetResult) -> str:
    return f"{result.target}: further figures, mean over n = {len(result.zero_shot)} (no intervals)"


def _legend(names: Mapping[str, str]) -> dict[str, str]:
    """Short name -> recipe, of those that have one."""
    return {short: recipe for recipe, short in names.items() if short != recipe}


def _code(names: Mapping[str, str], recipe: str) -> str:
    """A recipe at the head of a markdown column: the names of tasks are code, a number of the legend is not."""
    return f"`{recipe}`" if names[recipe] == recipe else names[recipe]


def _language_note(summary: Summary) -> str:
    return (
        "n rows: scored report rows. can show: the smallest true difference to the baseline, in points, that "
        f"these rows reveal with 80 % power. One seed ({summary.seed})."
    )


def _table(*, leading: int = 0) -> Table:
    return Table(box=box.SIMPLE_HEAD, leading=leading, show_edge=False, pad_edge=False)


def _main_table(summary: Summary, recipes: Sequence[str], names: Mapping[str, str]) -> Table:
    table = _table(leading=1)
    table.add_column("target (n)", no_wrap=True)
    table.add_column("trivial", justify="right", no_wrap=True)
    for recipe in ("baseline", *recipes):
        table.add_column(names.get(recipe, recipe), justify="right", overflow="fold")
    for result in summary.targets:
        table.add_row(
            f"{_target_line(result)}\n{result.metric}",
            _number(result.trivial),
            *(_styled_cell(result, recipe) for recipe in ("baseline", *recipes)),
        )
    return table


def _target_line(result: TargetResult) -> str:
    return f"{result.target} ({len(result.zero_shot)})"


def _recipe_width(summary: Summary, recipe: str, name: str) -> int:
    """Of a column of the main table: its cells; a name may be folded, but not to less than half."""
    cells = (line for result in summary.targets for line in _cell_lines(result, recipe))
    return max(*map(len, cells), len("baseline"), -(-len(name) // 2))


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


def _plain_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = _table()
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def _language_lines(result: TargetResult, languages: Sequence[str], names: Mapping[str, str]) -> list[list[str]]:
    lines = [["trivial", *(_number(result.trivial_by_language.get(language)) for language in languages)]]
    for recipe, name in names.items():
        if (cell := result.cells.get(recipe)) is not None:
            values = (_number(cell.by_language[language].value) for language in languages)
            lines.append([name + " =" * cell.same, *values])
    lines.append(["n rows", *(str(result.rows[language]) for language in languages)])
    if result.smallest:
        lines.append(["can show", *(_number(result.smallest[language]) for language in languages)])
    return lines


def _has_figures(result: TargetResult) -> bool:
    """The metric tells more than its main number."""
    return len(_figure_names(result)) > 1


def _figure_names(result: TargetResult) -> list[str]:
    return list(dict.fromkeys(name for cell in result.cells.values() for name in cell.figures))


def _figure_lines(result: TargetResult, recipes: Sequence[str]) -> list[list[str]]:
    lines = []
    for name in _figure_names(result):
        label = FIGURES.get(name) or (f"F1 of {name.removeprefix('f1_')}" if name.startswith("f1_") else "")
        values = (result.cells[recipe].figures.get(name) for recipe in recipes)
        lines.append([label or result.metric, _number(result.trivial_figures.get(name)), *map(_number, values)])
    return lines


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    """The longest entry of every column."""
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _fitting(names: Sequence[str], widths: Mapping[str, int], room: int) -> list[Sequence[str]]:
    """`names` in as few parts as fit `room` with their columns and the gaps before them, each as long as the others;
    one empty part if there are none."""
    for parts in range(1, len(names) + 1):
        step = -(-len(names) // parts)
        groups = [names[start : start + step] for start in range(0, len(names), step)]
        if step == 1 or all(sum(widths[name] + _GAP for name in group) <= room for group in groups):
            return groups
    return [[]]


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
