"""Entry points `noise` and `evaluate --condition`, from files to tables, and what they refuse."""

from __future__ import annotations

import csv
from pathlib import Path

import mlflow
import pytest
import yaml

from pipelines import conditions, evaluate, noise, target
from pipelines.cli import parse
from polystilts.errors import InvalidValue, Problems
from polystilts.metrics.bank import read_about, read_bank

NAMES = ("Anna", "Boris", "Clara", "David")


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed is read here, and a narrow terminal breaks it into lines."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def pairs(rows: Path) -> Path:
    """PAWS-X in two languages beside the other rows; every second English pair has a name."""
    (rows / "pawsx").mkdir()
    for split, language, count in (("train", "en", 24), ("dev", "en", 16), ("dev", "zh", 16)):
        lines = []
        for n in range(count):
            name = NAMES[n % 4] if n % 2 else "somebody"
            first, second = (
                ("猫 睡觉", "狗 跑")
                if language == "zh"
                else (f"In May {name} reads book {n}", f"Later {name} has read")
            )
            lines.append(f"{first} {n}\t{second} {n}\t{n // 2 % 2}\n")
        (rows / f"pawsx/{split}-{language}.tsv").write_text("".join(lines), encoding="utf-8")
    return rows


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def checkpoint(pairs: Path, preset: Path, output: Path, tracking: str, capsys: pytest.CaptureFixture[str]):
    """Fine-tunes a target and gives its folder."""

    def trained(name: str) -> str:
        target.run(target.Target(preset=str(preset), output=str(output), target=name))
        return capsys.readouterr().out.strip().splitlines()[-1]

    return trained


def asked(preset: Path, output: Path, base: str, name: str, **values: object) -> noise.Noise:
    return noise.Noise(preset=str(preset), output=str(output), base=base, target=name, **values)  # type: ignore[arg-type]


def test_a_curve_of_tags(
    checkpoint, preset: Path, output: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    folder = checkpoint("udpos")
    noise.run(asked(preset, output, folder, "udpos", rates="0.5,0", kinds="swap,drop", noise_seed=3))
    shown = capsys.readouterr().out
    assert "50 %" in shown and "Mean: of 2 languages not trained in" in shown

    [bank] = output.glob("conditions/*.parquet")
    assert bank.name.startswith("udpos-baseline-noise.0.5.swap+drop.3-")
    about = read_about(bank)
    assert about["condition"] == "noise:0.5:swap+drop:3" and set(about["noise"]) == {"en", "de", "zh"}
    [clean] = output.glob("evaluations/*.parquet")
    for noisy, plain in zip(read_bank(bank), read_bank(clean), strict=True):
        assert (noisy.id, noisy.role, noisy.gold) == (plain.id, plain.role, plain.gold)
        assert len(noisy.predicted_value) == len(noisy.gold_value)
        assert (noisy.condition, plain.condition) == (about["condition"], "clean")

    report = output / "reports/noise-udpos-baseline-swap+drop.3"
    assert report.with_name(f"{report.name}.svg").read_text().startswith("<")
    lines = list(csv.DictReader(report.with_name(f"{report.name}.csv").open(encoding="utf-8")))
    assert {(line["rate"], line["language"]) for line in lines} == {
        (rate, language) for rate in ("0", "0.5") for language in ("mean", "en", "de", "zh")
    }
    [german] = [line for line in lines if line["rate"] == "0.5" and line["language"] == "de"]
    assert float(german["characters"]) == pytest.approx(about["noise"]["de"]["character_rate"], abs=1e-6)

    # in MLflow: the curve in the outer run, the bank in its own
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    [outer] = [run for run in runs if run.info.run_name.startswith("noise/")]
    assert outer.data.metrics["noise/score/de"] == pytest.approx(float(german["score"]), abs=1e-3)
    assert any(run.info.run_name == "evaluate/udpos from baseline, noise:0.5:swap+drop:3" for run in runs)

    # again: found, and no model is opened; another seed is another bank
    monkeypatch.setattr(conditions, "predictor_of", lambda *a: pytest.fail("the bank is there"))
    noise.run(asked(preset, output, folder, "udpos", rates="0.5", kinds="drop+swap", noise_seed=3))
    assert "done before" in capsys.readouterr().out
    monkeypatch.undo()
    noise.run(asked(preset, output, folder, "udpos", rates="0.5", kinds="swap,drop", noise_seed=4))
    assert len(list(output.glob("conditions/*.parquet"))) == 2


def test_pairs_that_hold(checkpoint, preset: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise.run(asked(preset, output, checkpoint("pawsx"), "pawsx", rates="0.3", robustness=True))
    shown = capsys.readouterr().out
    assert "right in both" in shown and "ECE" in shown
    lines = list(csv.DictReader((output / "reports/robustness-pawsx-baseline-all.0.csv").open(encoding="utf-8")))
    held = {(line["condition"], line["measure"], line["language"]): float(line["value"]) for line in lines}
    for condition in ("swapped", "noise:0.3:all:0"):
        for language in ("en", "zh"):
            assert held[condition, "correct_in_both", language] <= held[condition, "agreement", language] <= 100
            assert held[condition, "share", language] == 100
    assert 0 < held["renamed:0", "share", "en"] < 100, "half of the pairs have a name"
    assert held["renamed:0", "share", "zh"] == 0 and ("renamed:0", "agreement", "zh") not in held
    assert {measure for _, measure, _ in held} == {"score", "share", "agreement", "correct_in_both", "ece", "ece_plain"}
    assert {bank.name.split("-")[2] for bank in output.glob("conditions/*.parquet")} == {
        "noise.0.3.all.0", "swapped", "renamed.0"
    }  # fmt: skip


def test_evaluate_takes_a_condition(
    checkpoint, encoder: Path, preset: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(preset.read_text())
    preset.write_text(yaml.safe_dump(values | {"evaluation": {"limit": 3}}))
    for name, base, condition in (
        ("xcopa", checkpoint("xcopa"), "noise:0.5:train"),
        ("tatoeba", str(encoder), "noise:1"),
    ):
        evaluate.run(
            evaluate.Evaluate(preset=str(preset), output=str(output), base=base, target=name, condition=condition)
        )
        shown = capsys.readouterr().out
        assert "of the characters changed" in shown and name in shown
        [bank] = output.glob(f"conditions/{name}-*.parquet")
        rows, [clean] = read_bank(bank), output.glob(f"evaluations/{name}-*.parquet")
        assert [(r.id, r.role) for r in rows] == [(r.id, r.role) for r in read_bank(clean)], "the preset's limit holds"
        assert {row.condition for row in rows} == {read_about(bank)["condition"]}
        assert {row.probability is None for row in rows} == {name == "tatoeba"}
        assert list(output.glob(f"reports/{name}-baseline-noise.*.md"))


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--rates=0.1,2"], ["--rates: '2' is not a share of words from 0 to 1"]),
        (["--rates=a"], ["--rates: 'a' is not a share"]),
        (["--rates=0"], ["--rates: no rate above 0 is given"]),
        (["--kinds=swpa"], ["--kinds: unknown kind of noise 'swpa'; did you mean 'swap'"]),
        (["--robustness"], ["--robustness: udpos has the format 'tagging'"]),
        (["--target=udpso", "--rates=-1", "--kinds=x"], ["did you mean 'udpos'", "--rates: '-1'", "kind of noise 'x'"]),
        (["--noise-seed=-1"], ["--noise_seed: input should be greater than or equal to 0"]),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(preset: Path, arguments: list[str], messages: list[str]) -> None:
    given = [f"--preset={preset}", *([] if arguments[0].startswith("--target") else ["--target=udpos"]), *arguments]
    with pytest.raises(Problems) as caught:
        parse(noise.Noise, given, program="noise")
    assert all(message in caught.value.message for message in messages), caught.value.message


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("nosie:0.1", "--condition: unknown condition 'nosie'; did you mean 'noise'"),
        ("noise:1.2", "--condition: rate must be from 0 to 1"),
        ("swapped", "--condition: 'swapped' changes the two texts of a pair; udpos has the format 'tagging'"),
    ],
)
def test_a_condition_that_cannot_be(preset: Path, condition: str, message: str) -> None:
    with pytest.raises(Problems) as caught:
        parse(
            evaluate.Evaluate, [f"--preset={preset}", "--target=udpos", f"--condition={condition}"], program="evaluate"
        )
    assert message in caught.value.message


def test_rates_become_conditions_in_order(preset: Path, output: Path) -> None:
    found = noise.conditions_of(asked(preset, output, "", "udpos", rates="0.2, 0.1,0.2", in_answers=True))
    assert [condition.name for condition in found.values()] == [
        "clean", "noise:0.1:all:0:in-answers", "noise:0.2:all:0:in-answers"
    ]  # fmt: skip
    with pytest.raises(InvalidValue):
        noise.conditions_of(asked(preset, output, "", "udpos", rates="nan"))
