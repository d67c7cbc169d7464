"""Which candidate is chosen, and which gates are shut, from banks with known differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from polystilts.analysis.decision import decision_json, decision_tables
from polystilts.analysis.selection import Candidate, Decision, Limits, decide
from polystilts.errors import InvalidValue, MissingData
from polystilts.metrics.bank import BankRow
from polystilts.tasks import get_task

SPEC = get_task("xnli")
LANGUAGES = ("de", "en", "sw", "zh")
ROWS = 1000


def rows(
    accuracy: Mapping[str, float], *, recipe: str = "baseline", seed: int = 0, role: str = "choice"
) -> list[BankRow]:
    """Each language answers its first rows rightly, in an order of difficulty that all models share."""
    order = np.random.default_rng(0).permutation(ROWS)
    return [
        BankRow("xnli", recipe, seed, lang, f"{n}", f"{n}", role, "1", str(int(order[n] < share * ROWS)), 0.0)
        for lang, share in accuracy.items()
        for n in range(ROWS)
    ]


def candidate(recipe: str, seed: int = 0, *, updates: int = 0, english: float = 80.0, **accuracy: float) -> Candidate:
    shares = dict.fromkeys(LANGUAGES, 0.7) | accuracy
    return Candidate(recipe, seed, rows(shares, recipe=recipe, seed=seed), english, updates)


def choose(*candidates: Candidate, champion: Candidate | None = None, **limits: float) -> Decision:
    return decide(SPEC, candidates, champion, Limits(**limits), expected=LANGUAGES)  # type: ignore[arg-type]


def shut(decision: Decision) -> list[str]:
    return [gate.name for gate in decision.gates if not gate.passed]


def test_the_best_mean_over_other_languages_is_chosen() -> None:
    decision = choose(candidate("baseline", en=0.99), candidate("mnli", updates=10, de=0.72), candidate("qqp", de=0.6))
    assert (decision.chosen.recipe, shut(decision)) == ("mnli", [])
    assert [line.recipe for line in decision.lines] == ["mnli", "baseline", "qqp"]
    mnli, _, qqp = decision.lines
    assert mnli.to_baseline is not None and mnli.to_baseline.value == pytest.approx(2 / 3)
    assert qqp.worst == ("de", pytest.approx(60))
    assert mnli.p_baseline is not None and mnli.p_baseline < 0.05
    assert not mnli.mean.claim, "one seed makes no claim about a recipe"


def test_ties_go_to_fewer_updates_then_to_fewer_tasks() -> None:
    assert choose(candidate("mnli", updates=10, de=0.702), candidate("baseline")).chosen.recipe == "baseline"
    assert choose(candidate("mnli", updates=10, de=0.704), candidate("baseline")).chosen.recipe == "mnli"
    assert choose(candidate("mnli+qqp", updates=5), candidate("qqp", updates=5)).chosen.recipe == "qqp"
    assert choose(candidate("mnli", updates=4), candidate("qqp", updates=5)).chosen.recipe == "mnli"


def test_the_seed_with_the_best_english_checkpoint_score_is_the_one() -> None:
    """Not the one with the best choice rows: among seeds those would reward luck."""
    seeds = [candidate("mnli", n, english=score, de=de) for n, score, de in ((0, 81, 0.8), (1, 83, 0.7), (2, 82, 0.9))]
    decision = choose(*seeds)
    assert decision.chosen.seed == 1
    assert decision.lines[0].seeds == (0, 1, 2)
    assert decision.lines[0].mean.claim


def test_report_rows_may_not_choose() -> None:
    spoiled = replace(candidate("mnli"), rows=rows({"de": 0.7}, role="report"))
    with pytest.raises(InvalidValue, match="is a report row and must not be used for a choice"):
        choose(spoiled)
    with pytest.raises(InvalidValue, match="is a report row"):
        choose(candidate("baseline"), champion=spoiled)
    with pytest.raises(MissingData, match="no candidates"):
        choose()


def test_a_language_shown_to_be_worse_shuts_the_gate_and_is_named() -> None:
    decision = choose(candidate("mnli", de=0.9, zh=0.6), champion=candidate("baseline"))
    assert shut(decision) == ["no language worse"]
    [gate] = [gate for gate in decision.gates if not gate.passed]
    assert "zh is 10.0 points worse than the champion" in gate.message
    assert gate.given == pytest.approx(-10)
    assert [line.language for line in decision.languages if line.verdict == "worse"] == ["zh"]


def test_a_loss_within_the_limit_or_not_shown_opens_it() -> None:
    assert shut(choose(candidate("mnli", zh=0.69), champion=candidate("baseline"))) == []
    few = [row for row in candidate("mnli", zh=0.6).rows if int(row.id) < 20]
    same = [row for row in candidate("baseline").rows if int(row.id) < 20]
    loose = choose(replace(candidate("mnli"), rows=few), champion=replace(candidate("baseline"), rows=same))
    assert shut(loose) == [], "20 rows show nothing"
    assert {line.verdict for line in loose.languages if line.language == "zh"} == {"cannot tell"}
    strict = choose(
        replace(candidate("mnli"), rows=few), champion=replace(candidate("baseline"), rows=same), strict=True
    )
    assert shut(strict) == ["strict: rows can tell"]
    assert "zh: 20 rows can show" in next(gate for gate in strict.gates if not gate.passed).message


def test_low_resource_languages_have_a_stricter_limit() -> None:
    worse = choose(candidate("mnli", de=0.8, sw=0.69), champion=candidate("baseline"))
    assert shut(worse) == ["low-resource languages"], "1.0 is over 0.5, and within 1.5"
    assert "(sw) are -1.0 points" in next(gate for gate in worse.gates if not gate.passed).message
    assert shut(choose(candidate("mnli", zh=0.69), champion=candidate("baseline"))) == [], "zh has much text"


def test_every_language_must_be_scored() -> None:
    there = replace(candidate("mnli"), rows=[row for row in candidate("mnli").rows if row.language != "sw"])
    decision = choose(there)
    assert shut(decision) == ["languages scored"]
    assert decision.gates[0].message == "not scored in sw"
    assert shut(choose(there, missing_languages=1)) == []


def test_a_target_that_is_not_trained_compares_with_one_fixed_encoder() -> None:
    """Its baseline has no seeds; every intermediate seed is compared with it."""
    encoders = [candidate("mnli", seed, de=0.8) for seed in (1, 2, 3)]
    decision = decide(
        replace(SPEC, train_task=""), [candidate("baseline"), *encoders], None, Limits(), expected=LANGUAGES
    )
    assert decision.lines[0].to_baseline is not None
    assert decision.lines[0].to_baseline.seeds_base == 0


def test_tables_and_values_say_it_all() -> None:
    decision = choose(candidate("baseline"), candidate("mnli", de=0.9, zh=0.6), champion=candidate("baseline"))
    console = Console(file=StringIO(), width=80)
    for table in decision_tables(decision, decision.gates, "accuracy"):
        console.print(table)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for part in ("chosen", "worse", "shut", "de", "+20.0"):
        assert part in shown
    values = decision_json(decision, decision.gates)
    assert values["chosen"]["recipe"] == "mnli"
    assert [gate["name"] for gate in values["gates"] if not gate["passed"]] == ["no language worse"]
