"""Tasks with a way of their own, from files to bundles: code search, LAReQA, XCOPA and Tatoeba after another task."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines import main, phases
from pipelines.job import Job, repeated_data, training_stages
from polystilts.errors import InvalidValue, Problems
from polystilts.formats.values import SentenceExample
from polystilts.metrics.bank import read_bank
from polystilts.runtime.bundle import load_predictor, open_bundle
from polystilts.runtime.models_folder import read_current
from polystilts.tasks import get_task, parse_mixture
from polystilts.training.checkpoint import open_checkpoint

WORDS = ["cat", "dog", "house", "book", "tree", "day", "river", "table"]


def questions(language: str, count: int) -> dict[str, object]:
    """SQuAD's json with one paragraph a question, and XQuAD-R's sentence breaks beside it."""
    paragraphs = []
    for number in range(count):
        first, second = f"The {WORDS[number % 8]} is old. ", f"The {WORDS[(number + 3) % 8]} has number {number}."
        context = first + second
        paragraphs.append(
            {
                "context": context,
                "sentence_breaks": [[0, len(first) - 1], [len(first), len(context)]],
                "qas": [
                    {
                        "id": f"{'' if language else 'own'}q{number}",
                        "question": f"What has number {number}?",
                        "answers": [{"text": f"number {number}", "answer_start": context.index("number")}],
                    }
                ],
            }
        )
    return {"data": [{"title": "t", "paragraphs": paragraphs}]}


@pytest.fixture
def more(rows: Path) -> Path:
    """SQuAD, XQuAD-R in two languages, code search, Social IQa and CCG beside the other rows."""
    files: dict[str, object] = {
        "squad/train-v1.1.json": questions("", 14),
        "squad/dev-v1.1.json": questions("", 6),
        "lareqa/xquad-r/en.json": questions("en", 12),
        "lareqa/xquad-r/de.json": questions("de", 12),
    }
    for split, name in (("train", "trn"), ("valid", "dev")):
        files[f"codesearch/{split}.jsonl"] = [
            {"docstring": f"returns the {word} {n}", "code": f"def {word}_{n}(): return {n}"}
            for n in range(3)
            for word in WORDS
        ]
        files[f"siqa/socialIQa_v1.4_{name}.jsonl"] = [
            {
                "context": f"{word} fell",
                "question": "Why?",
                "answerA": "a",
                "answerB": "b",
                "answerC": "c",
                "correct": "ABC"[n % 3],
                "label_letter": "ABC"[n % 3],
                "label_ix": n % 3,
                "label": str(n % 3 + 1),
            }
            for n, word in enumerate(WORDS)
        ]
    for name, value in files.items():
        path = rows / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(line) for line in value] if isinstance(value, list) else [json.dumps(value)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (rows / "ccg").mkdir()
    for split in ("train", "val"):
        (rows / f"ccg/{split}.tsv").write_text("the cat sleeps\tNP/N N S\\NP\n" * 8)
    (rows / "ccg/tags_to_id.json").write_text(json.dumps({"N": 0, "NP/N": 1, "S\\NP": 2}))
    return rows


def parameters(preset: Path, tmp_path: Path, **changed: str) -> main.Main:
    values = yaml.safe_load(preset.read_text())
    values["training"]["max_tokens"] = 64
    preset.write_text(yaml.safe_dump(values))
    return main.Main(preset=str(preset), output=str(tmp_path / "outputs"), serve=False, **changed)


def test_dual_encoders_from_rows_to_bundles(more: Path, preset: Path, tracking: str, tmp_path: Path) -> None:
    main.run(parameters(preset, tmp_path, intermediate="codesearch", targets="lareqa"))
    output = tmp_path / "outputs"
    [encoder] = [open_checkpoint(p) for p in output.glob("checkpoints/intermediate-codesearch-*")]
    assert 0 <= encoder.lineage["checkpoint_score"] <= 100
    [bank] = output.glob("evaluations/lareqa-codesearch-*.parquet")
    rows = read_bank(bank)
    assert {(row.language, row.role) for row in rows} == {(a, b) for a in ("en", "de") for b in ("choice", "report")}
    assert len(rows) == 24
    assert all(len(row.predicted_value) == 20 for row in rows)
    assert all({id[:2] for id in row.gold_value} == {"en", "de"} for row in rows), "relevant in both languages"
    assert {id[:2] for row in rows for id in row.predicted_value} == {"en", "de"}, "ranked at once"

    delivered = read_current(output / "models")["lareqa"]
    bundle = open_bundle(delivered.folder(output / "models"), digest=delivered.digest)
    assert bundle.settings.pooling == "pooler"
    [answer] = load_predictor(bundle, threads=1).predict([SentenceExample("0", "en", "What is old?", query=True)])
    assert np.linalg.norm(answer.embeddings) == pytest.approx(1, abs=1e-5)  # type: ignore[union-attr]


def test_tasks_before_the_target_s_own(more: Path, preset: Path, tracking: str, tmp_path: Path) -> None:
    asked = parameters(preset, tmp_path, intermediate="none", targets="xcopa_after_siqa,xcopa,tatoeba_after_squad")
    main.run(asked)
    output = tmp_path / "outputs"
    copas = [open_checkpoint(path) for path in output.glob("checkpoints/target-copa-*")]
    by_parent = {c.lineage["parent"]["name"]: c for c in copas}
    assert set(by_parent) == {"siqa", "encoder"}

    # Tatoeba's checkpoint is SQuAD's; it is embedded as Tatoeba is, at Tatoeba's length
    [squad] = output.glob("checkpoints/target-squad_v1-*")
    settings = open_checkpoint(squad).settings
    assert settings is not None and settings.format == "span"
    [bank] = output.glob("evaluations/tatoeba_after_squad-baseline-*.parquet")
    assert all(isinstance(row.predicted_value, str) for row in read_bank(bank))

    # a checkpoint by itself is known by all its stages
    job = Job.open(asked.model_copy(update={"output": str(tmp_path / "again")}))
    for name, fits, other in (("xcopa_after_siqa", "siqa", "encoder"), ("xcopa", "encoder", "siqa")):
        assert phases.score_checkpoint(job, get_task(name), by_parent[fits]).rows
        with pytest.raises(InvalidValue, match=f"{name} needs a checkpoint fine-tuned on"):
            phases.score_checkpoint(job, get_task(name), by_parent[other])


def test_labels_that_the_source_lists_reach_the_model(more: Path, preset: Path, tracking: str, tmp_path: Path) -> None:
    job = Job.open(parameters(preset, tmp_path, intermediate="ccg", targets="udpos"))
    assert [recipe.name for recipe in job.intermediate] == ["ccg"]
    assert job.task("ccg").labels == ("N", "NP/N", "S\\NP")
    checkpoint = phases.train_intermediate(job, job.intermediate[0], phases.base_checkpoint(job))
    assert checkpoint.lineage["tasks"][0]["rows"] == 8


def test_bad_rows_can_be_left_out_and_are_counted(
    rows: Path, preset: Path, tracking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rows / "udpos/train-en.tsv"
    path.write_text(path.read_text().replace("cat\tNOUN\n", "cat\tNOUN\textra\n", 1))
    asked = parameters(preset, tmp_path, intermediate="none", targets="udpos")
    main.run(asked.model_copy(update={"on_bad_row": "skip"}))
    assert "1 bad rows left out of" in " ".join(capsys.readouterr().out.split())


def test_a_mixture_that_holds_rows_twice_says_so() -> None:
    assert repeated_data(parse_mixture("anli_plus+mnli")) == ["mnli"]
    assert repeated_data(parse_mixture("mnli+squad_v1")) == []
    assert repeated_data(parse_mixture("squad_sentences+squad_v1")) == ["squad_v1"]


def test_stages() -> None:
    assert training_stages(get_task("xcopa_after_siqa")) == ("siqa", "copa")
    assert training_stages(get_task("xcopa")) == ("copa",)
    assert training_stages(get_task("tatoeba")) == ()


def test_a_missing_first_stage_is_named(preset: Path, tmp_path: Path) -> None:
    with pytest.raises(Problems, match="no English training rows of siqa"):
        Job.open(parameters(preset, tmp_path, intermediate="none", targets="xcopa_after_siqa"))
