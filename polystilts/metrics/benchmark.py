"""The averages of XTREME and XTREME-R, and what to call a mean of which a part is missing.

Tasks are named as in XTREME's evaluate.py, whose groups and unweighted averages these are. Main metrics are taken:
(EM + F1) / 2 for question answering, whose average is evaluate.py's mean of the two averages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from polystilts.errors import InvalidValue, UnknownName

#: Benchmark -> group -> tasks. XTREME-R counts XCOPA in two groups; LAReQA is in none, as evaluate.py cannot score it.
GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "xtreme": MappingProxyType(
            {
                "classification": ("pawsx", "xnli"),
                "tagging": ("udpos", "panx"),
                "qa": ("xquad", "mlqa", "tydiqa"),
                "retrieval": ("bucc2018", "tatoeba"),
            }
        ),
        "xtreme-r": MappingProxyType(
            {
                "classification": ("xnli", "xcopa"),
                "tagging": ("udpos", "panx"),
                "qa": ("xquad", "mlqa", "tydiqa"),
                "retrieval": ("tatoeba", "mewslix"),
                "multi_choice": ("xcopa",),
            }
        ),
    }
)
RETRIEVAL = ("bucc2018", "tatoeba", "mewslix", "lareqa")
#: Sets translated from English (MLQA: its questions), and sets written in their languages.
TRANSLATED = ("xnli", "pawsx", "xcopa", "xquad", "mlqa")
NATIVE = ("tydiqa", "panx", "udpos")


@dataclass(frozen=True)
class Mean:
    """An unweighted mean, and of what.

    Attributes:
        value: 0 to 100.
        present: languages of a task, or tasks, whose numbers it is the mean of.
        missing: what the benchmark's list has beside them; of a task that is there in part, ``task: languages``.
        kind: 'language' or 'task'.
    """

    value: float
    present: tuple[str, ...]
    missing: tuple[str, ...] = ()
    kind: str = "language"

    @property
    def complete(self) -> bool:
        """Whether it is the benchmark's average."""
        return not self.missing

    @property
    def title(self) -> str:
        """``average``, or what there is instead of one."""
        if self.complete:
            return "average"
        if self.kind == "task" and all(":" in part for part in self.missing):
            return "mean with languages missing"
        return f"mean of the {len(self.present)} {self.kind}{'s' if len(self.present) != 1 else ''} present"


@dataclass(frozen=True)
class BenchmarkMeans:
    """All averages of one set of scores.

    Attributes:
        tasks: task -> mean over its languages; tasks without a score are absent.
        overall: name -> mean over tasks, absent where none of its tasks has a score:
            ``all_task`` (every task, for XTREME-R LAReQA by its own mAP@20 among them), ``without_lareqa`` (XTREME-R:
            the nine tasks that evaluate.py scores), ``without_retrieval``, evaluate.py's groups, ``translated`` and
            ``native``.
    """

    tasks: dict[str, Mean]
    overall: dict[str, Mean]


def benchmark_means(
    benchmark: str, scores: Mapping[str, Mapping[str, float]], languages: Mapping[str, Sequence[str]]
) -> BenchmarkMeans:
    """Averages of main metrics as evaluate.py makes them.

    Args:
        benchmark: a key of GROUPS.
        scores: task -> language -> main metric, 0 to 100. Languages outside the task's list are left out.
        languages: task -> its list of languages in this benchmark, for all its tasks.

    Raises:
        UnknownName: another benchmark, or a task that is not in `languages`.
    """
    if benchmark not in GROUPS:
        raise UnknownName("benchmark", benchmark, GROUPS, param="benchmark")
    for task in scores:
        if task not in languages:
            raise UnknownName(f"task of {benchmark}", task, languages, param="scores")
    tasks = {
        task: mean
        for task, listed in languages.items()
        if task in scores and (mean := language_mean(scores[task], listed)) is not None
    }
    names = tuple(languages)
    wanted = {"all_task": names}
    if "lareqa" in names:
        wanted["without_lareqa"] = tuple(name for name in names if name != "lareqa")
    wanted["without_retrieval"] = tuple(name for name in names if name not in RETRIEVAL)
    wanted |= GROUPS[benchmark]
    wanted["translated"] = tuple(name for name in names if name in TRANSLATED)
    wanted["native"] = tuple(name for name in names if name in NATIVE)
    overall = {name: mean for name, members in wanted.items() if (mean := _task_mean(tasks, members)) is not None}
    return BenchmarkMeans(tasks, overall)


def language_mean(scores: Mapping[str, float], languages: Sequence[str]) -> Mean | None:
    """The mean over a task's languages; None if none has a score.

    Raises:
        InvalidValue: the list of languages is empty.
    """
    if not languages:
        raise InvalidValue("a task without languages has no average", param="languages", limit=1, given=0)
    present = tuple(language for language in languages if language in scores)
    if not present:
        return None
    missing = tuple(language for language in languages if language not in scores)
    return Mean(sum(scores[language] for language in present) / len(present), present, missing)


def _task_mean(tasks: Mapping[str, Mean], members: Sequence[str]) -> Mean | None:
    present = tuple(task for task in members if task in tasks)
    if not present:
        return None
    missing = [task for task in members if task not in tasks]
    missing += [f"{task}: {', '.join(tasks[task].missing)}" for task in present if tasks[task].missing]
    return Mean(sum(tasks[task].value for task in present) / len(present), present, tuple(missing), kind="task")
