from __future__ import annotations

import pytest

from polystilts.errors import InvalidValue, UnknownName
from polystilts.metrics.benchmark import GROUPS, benchmark_means, language_mean
from polystilts.tasks import TASKS


def lists(benchmark: str) -> dict[str, tuple[str, ...]]:
    return {spec.data: spec.benchmarks[benchmark] for spec in TASKS.values() if benchmark in spec.benchmarks}


def every(benchmark: str) -> dict[str, dict[str, float]]:
    """The i-th task scores i in every language."""
    return {
        task: dict.fromkeys(languages, float(i)) for i, (task, languages) in enumerate(sorted(lists(benchmark).items()))
    }


@pytest.mark.parametrize(("benchmark", "count"), [("xtreme", 9), ("xtreme-r", 10)])
def test_with_everything_there_all_are_averages(benchmark: str, count: int) -> None:
    scores = every(benchmark)
    means = benchmark_means(benchmark, scores, lists(benchmark))
    assert all(mean.title == "average" for mean in [*means.tasks.values(), *means.overall.values()])
    assert means.overall["all_task"].value == pytest.approx((count - 1) / 2)
    assert set(GROUPS[benchmark]) < set(means.overall)
    assert len(means.overall["without_retrieval"].present) == 7


def test_xtreme_r_is_given_with_and_without_lareqa() -> None:
    means = benchmark_means("xtreme-r", every("xtreme-r"), lists("xtreme-r")).overall
    assert len(means["all_task"].present) == 10
    assert set(means["all_task"].present) - set(means["without_lareqa"].present) == {"lareqa"}
    assert means["retrieval"].present == ("tatoeba", "mewslix")
    assert set(means["translated"].present) == {"xnli", "xcopa", "xquad", "mlqa"}
    assert set(means["native"].present) == {"tydiqa", "panx", "udpos"}
    assert "without_lareqa" not in benchmark_means("xtreme", every("xtreme"), lists("xtreme")).overall


def test_english_is_in_the_mean_unless_the_list_leaves_it_out() -> None:
    scores = {"xcopa": {"en": 100.0} | dict.fromkeys(lists("xtreme-r")["xcopa"], 60.0)}
    assert benchmark_means("xtreme-r", scores, lists("xtreme-r")).tasks["xcopa"].value == 60.0
    assert "en" in lists("xtreme")["xnli"]
    assert "en" not in lists("xtreme")["tatoeba"]


def test_a_mean_of_a_part_says_so() -> None:
    scores = every("xtreme")
    del scores["pawsx"], scores["xnli"]["sw"]
    means = benchmark_means("xtreme", scores, lists("xtreme"))
    assert means.tasks["xnli"].title == "mean of the 14 languages present"
    assert means.tasks["xnli"].missing == ("sw",)
    assert means.overall["all_task"].title == "mean of the 8 tasks present"
    assert means.overall["all_task"].missing == ("pawsx", "xnli: sw")
    assert means.overall["classification"].title == "mean of the 1 task present"
    assert means.overall["qa"].complete
    scores = every("xtreme")
    del scores["xnli"]["sw"]
    assert benchmark_means("xtreme", scores, lists("xtreme")).overall["all_task"].title == "mean with languages missing"


def test_nothing_gives_nothing_and_names_are_checked() -> None:
    means = benchmark_means("xtreme", {}, lists("xtreme"))
    assert means.tasks == means.overall == {}
    with pytest.raises(UnknownName, match="did you mean 'xtreme'"):
        benchmark_means("xtrem", {}, {})
    with pytest.raises(UnknownName, match="xcopa"):
        benchmark_means("xtreme", {"xcopa": {"et": 1.0}}, lists("xtreme"))
    with pytest.raises(InvalidValue, match="without languages"):
        language_mean({}, ())
