"""The protocol of every task as text: docs/protocol.md, and what `python -m pipelines.tasks --task NAME` prints.

Written from the specs, so that a page about a protocol cannot differ from what is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from polystilts.tasks import TASKS, HubFiles, LocalFiles, TaskSpec, UpstreamFiles
from polystilts.tasks.catalogue.code import CODE
from polystilts.tasks.catalogue.intermediate import INTERMEDIATE
from polystilts.tasks.catalogue.targets import RETRIEVAL_TRAINING, TARGETS
from polystilts.tasks.catalogue.translated import TRANSLATED

#: Heading -> tasks, in the order of every list of tasks.
GROUPS: Mapping[str, tuple[TaskSpec, ...]] = {
    "Intermediate tasks": INTERMEDIATE,
    "Code": CODE,
    "Targets": TARGETS,
    "Training sets of retrieval targets": RETRIEVAL_TRAINING,
    "Translated training sets": TRANSLATED,
}

#: What a metric's name stands for; every score is between 0 and 100.
METRICS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "token_accuracy": "share of words with the right tag",
    "pos_f1": "F1 of tag chunks as seqeval 1.2.2 finds them (one of four figures, see Tagging)",
    "span_f1": "F1 of entities as seqeval 1.2.2 finds them",
    "qa": "(exact match + F1) / 2, SQuAD's normaliser",
    "qa_mlqa": "(exact match + F1) / 2, MLQA's normaliser of the language",
    "qa_or_none": "(best exact match + best F1) / 2 over thresholds for 'no answer'",
    "retrieval": "share of queries whose own candidate is nearest",
    "mining_f1": "F1 of mined sentence pairs against the gold pairs",
    "map_at_20": "mean average precision over the 20 nearest candidates",
}

BENCHMARKS: Mapping[str, str] = {"xtreme": "XTREME", "xtreme-r": "XTREME-R"}

_HEAD = """\
# Protocol

<!-- Written by `make protocol` from the task specs and pipelines/protocol.py; a test fails when it is stale. -->

What is trained on, what chooses, what is reported and how it is scored, task by task. The same for one task:
`python -m pipelines.tasks --task NAME`.
"""

_RULES = """\
## Rules

### Roles of rows

Every row has one role, and the prediction bank keeps it beside the score.

- `checkpoint` rows are English. They choose the weights that are kept, and thresholds; nothing else does.
- `choice` rows are the target's validation split in every language. They choose the recipe (intermediate task and
  options) of a target.
- `report` rows choose nothing. Every published number comes from them.

Where a set has a single split, or the labels of the other are hidden, a hash of the id makes half of its ids choice
rows and the other half report rows: the same ids in every language. A row drawn from a training set (XQuAD and LAReQA
lie inside SQuAD's validation rows, English XCOPA is COPA's validation file) is kept out of the checkpoint rows of
that set, and SQuAD 2.0's rows about XQuAD's paragraphs with them; only where nothing else is left do its choice rows
stay. Seeds are replicates of a recipe, never candidates.

`best` keeps the weights with the best metric on checkpoint rows, `last` those of the last update. A preset may set
either, for all tasks or for one; lineage and tables say which it was.

### Training

Training rows are English unless a task says otherwise. Embeddings and layers travel between phases; a head travels
only inside one target's own chain of tasks, to the next task of the same format. Targets with the same training set
share a checkpoint. A recipe whose intermediate task is also the target's training set is marked `=` and never called
the best intermediate task.

### Pairs and choices

Accuracy. COPA's question is put behind the premise as an English sentence in every language (XTREME-R's wording) and
each choice is scored against the two. XCOPA stands under two protocols: `xcopa` is trained on COPA alone,
`xcopa_after_siqa` on Social IQa and then, from that checkpoint and with its head, on COPA. Both keep the last
checkpoint, because COPA's hundred validation rows are too few to choose by and are English XCOPA's own. English is
evaluated but is not in the average.

### Tagging

A tag stands at the first sub-word of a word. Sentences over the maximum length are split into several rows, never
truncated, so that every word is scored; a word without a sub-word is `<unk>`. Entities: F1 of seqeval 1.2.2 over the
sentences of a language. UD-POS has four figures, and the tables of a result print all four:

- `pos_f1`, the main figure because published tables hold it: chunk F1 as XTREME's evaluate.py gets it with seqeval
  1.2.2. It takes a tag's first letter for its prefix, so CCONJ and SCONJ are one type, and equal neighbours merge.
- `pos_f1_whole_tag`: the same by the rule of seqeval 0.0.12, where the whole tag is the type.
- `token_accuracy`: share of words with the right tag, what papers call POS accuracy.
- `macro_f1`: unweighted mean of the tags' F1, over the tags that occur in gold.

### Question answering

Windows of 384 pieces that move by 128, questions cut at 64, answers of at most 30 pieces, 20 best starts and ends,
each piece answered from the window with most context around it. Starts and ends become text by character offsets of
the context, so an answer is always a literal part of it, in Chinese and Thai too. XQuAD and TyDiQA use SQuAD's
normaliser in every language, as XTREME does (Chinese and Thai answers are then compared whole); MLQA uses its own, by
language. The score is the mean of exact match and F1. SQuAD 2.0 tunes its threshold for 'no answer' on the rows that
score it, which flatters it; neither its threshold nor its head goes on to a target, whose questions are always
answered.

TyDiQA-GoldP 1.1's dev files, which XTREME tests on, hold 5,077 questions in nine languages (Arabic 921, English 440).
XTREME's paper has 323 to 2,719 a language and 634 English ones; nobody has said where the difference comes from (its
issue 95 is open), so a published TyDiQA number may be of other rows. Ours are of the report half of these files, and
every table shows how many rows that is.

### Retrieval

Layers are counted from the embeddings: 0 is the embedding layer, a model of 12 layers has 13. Sentence vectors are
means over the pieces, specials included, of one layer: 14 of 24, 8 of 12, otherwise round(0.6 x depth), the same for
every recipe; the curve over all layers is computed in the same pass. A gain at one layer mixes the quality of a
representation with the place where it lives.

- **Tatoeba**: English asks, the nearest sentence of the other language by cosine answers, ties go to the lower index.
  `tatoeba` takes the encoder as it is; `tatoeba_after_squad` fine-tunes it on SQuAD 1.1 first (XTREME-R) and so
  shares XQuAD's checkpoint.
- **BUCC**: every sentence takes the best of its 4 nearest by ratio margin, in both directions; the two lists are
  merged and pairs are kept greedily by score, ties by source and then target index. A sentence that occurs more than
  once on its side stands in the pool once and its pairs are dropped, while its gold pairs still count. The threshold
  lies halfway between the last kept score and the next at the best F1 on choice rows, for each language pair, and is
  applied with `>=`. Where a pair has one split, its choice half gives the threshold for the other half.
- **LAReQA, Mewsli-X**: one encoder embeds both sides: pooler output of `<s>` (dense + tanh), length 1; logits are a
  trained scale (from 100) times the cosine, cross-entropy over the candidates of one micro-batch. A LAReQA candidate
  is a sentence with its paragraph. A query is ranked against the candidates of all languages at once, and every
  candidate with one of its keys is relevant: AP@20 over min(relevant, 20). XTREME-R's evaluate.py has no scorer for
  LAReQA; this one is ours.

### Averages

Unweighted over the languages of a benchmark's list, which has English except for XCOPA, Tatoeba and BUCC. A
benchmark's average is printed only where all its tasks and languages are there; anything less is called the mean of
the languages present, and names them. The mean over tasks stands with and without the retrieval tasks; XTREME-R's
also with and without LAReQA.
"""


def protocol_page() -> str:
    """docs/protocol.md."""
    parts = [_HEAD, _RULES]
    for heading, specs in GROUPS.items():
        parts.append(f"## {heading}\n")
        parts += [f"### {spec.name}\n\n{_markdown(spec)}" for spec in specs]
    return "\n".join(parts)


def protocol_lines(spec: TaskSpec) -> list[tuple[str, str]]:
    """What is to know about one task, as (heading, text)."""
    lines = [
        ("task", f"{spec.title}{f' ({spec.skill})' if spec.skill else ''}, format {spec.format}"),
        ("trained on", _training(spec)),
        ("checkpoint rows", _checkpoint_rows(spec)),
        *_evaluation_rows(spec),
        ("metric", f"`{spec.metric}`: {METRICS[spec.metric]}"),
        ("lengths in pieces", _lengths(spec)),
    ]
    if spec.labels:
        lines.append(("labels in order", ", ".join(spec.labels)))
    lines += [("resampled by", _unit(spec)), *_languages(spec), *_sources(spec)]
    lines.append(("licence", spec.licence + ("; commercial use is not allowed" if spec.non_commercial else "")))
    if spec.note:
        lines.append(("note", spec.note))
    return lines


def _markdown(spec: TaskSpec) -> str:
    rows = [f"| {heading} | {text.replace('|', chr(92) + '|')} |" for heading, text in protocol_lines(spec)]
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def _training(spec: TaskSpec) -> str:
    if not spec.train_task:
        return "nothing: the encoder as it is"
    task = TASKS[spec.train_task]
    languages = "English" if task.train_languages == ("en",) else _list(task.train_languages)
    if task.parts:
        rows = f"the rows of {_names(task.parts)}, one set after the other"
    else:
        rows = "its own rows" if task is spec else f"`{task.name}`"
    before = [f"`{name}`" for name in spec.before]
    return ", then ".join([*before, rows]) + f" ({languages})"


def _checkpoint_rows(spec: TaskSpec) -> str:
    if not spec.train_task:
        return "none"
    task = TASKS[spec.train_task]
    source = TASKS[task.translates] if task.translates else task
    whose = "" if source is spec else f" of `{source.name}`"
    if source.checkpoint_split:
        rows = f"English `{source.checkpoint_split}`{whose}"
    else:
        rows = f"a tenth of the English training rows{whose}, by a hash of the {source.group}"
    drawn = drawn_from(source)
    rows_or = "rows" if any(TASKS[other.drawn_from].data == source.data for other in drawn) else "paragraphs"
    without = f" without the {rows_or} of {_names(other.name for other in drawn)}" if drawn else ""
    if task.selection == "last":
        return f"none are used: the last checkpoint is kept ({rows}{without} only show the course of training)"
    return f"{rows}{without}; the best checkpoint is kept"


def drawn_from(task: TaskSpec) -> list[TaskSpec]:
    """Targets whose rows are kept out of a task's checkpoint rows: those drawn from its data, and of another set of
    questions those about the same paragraphs (`polystilts.data.roles.checkpoint_rows`)."""
    if not task.checkpoint_split:
        return []
    drawn = [target for target in TASKS.values() if target.drawn_from]
    same = [target for target in drawn if TASKS[target.drawn_from].data == task.data]
    return same or [target for target in drawn if task.format == target.format == "span"]


def _evaluation_rows(spec: TaskSpec) -> list[tuple[str, str]]:
    choice, report = spec.choice_split, spec.report_split
    if not spec.is_target:
        return [("choice, report", "none: it is never scored as a target")]
    if choice and report:
        lines = [("choice", f"`{choice}`"), ("report", f"`{report}`")]
    else:
        half = f"the half of the ids of `{choice or report}` that a hash gives"
        lines = [("choice", half), ("report", "the other half")]
    pool = f"`{spec.pool_split}`, shared by all languages"
    return [*lines, ("candidates", pool)] if spec.pool_split else lines


def _lengths(spec: TaskSpec) -> str:
    if spec.format == "span":
        return (
            f"row {spec.max_length}, question {spec.max_question_length}, stride {spec.doc_stride}, "
            f"answer {spec.max_answer_length}"
        )
    if spec.format == "sentence" and spec.pooling == "pooler":
        batch = f"; {spec.micro_batch_rows} rows a micro-batch in training" if spec.micro_batch_rows else ""
        return f"query {spec.max_question_length}, candidate {spec.max_length} (pooler output){batch}"
    if spec.format == "sentence":
        return f"sentence {spec.max_length} (mean of a layer)"
    return f"row {spec.max_length}{', longer sentences are split' if spec.format == 'tagging' else ''}"


def _unit(spec: TaskSpec) -> str:
    joint = ", drawn jointly for all languages" if spec.parallel and spec.is_target else ""
    return {"id": "row", "paragraph": "paragraph", "query": "query, the candidates stay"}[spec.unit] + joint


def _languages(spec: TaskSpec) -> list[tuple[str, str]]:
    if spec.languages == ("en",):
        return [("languages", "en")]
    lines = [("languages", _list(spec.languages))]
    for name, languages in spec.benchmarks.items():
        lines.append((BENCHMARKS[name], "all of them" if set(languages) == set(spec.languages) else _list(languages)))
    if spec.average_excludes:
        lines.append(("not in averages", ", ".join(spec.average_excludes)))
    return lines


def _sources(spec: TaskSpec) -> list[tuple[str, str]]:
    lines = [("rows of", f"`{spec.rows_of}`")] if spec.rows_of else []
    if spec.hub:
        lines.append(("hub", _hub(spec.hub)))
    if spec.upstream:
        lines.append(("upstream files", _upstream(spec.upstream)))
    if spec.local:
        lines.append(("local files", _local(spec.local)))
    if spec.parts:
        lines.append(("sources", f"those of {_names(spec.parts)}"))
    return lines


def _hub(hub: HubFiles) -> str:
    branch = hub.revision or ("refs/convert/parquet" if hub.parquet_branch else "main")
    splits = ", ".join(f"{ours} = `{theirs}`" if ours != theirs else ours for ours, theirs in hub.splits.items())
    text = f"`{hub.id}`, config `{hub.config}`, revision `{branch}` (`prepare` pins its commit); {splits}"
    if hub.rows:
        text += "; documented rows: " + ", ".join(f"{split} {count:,}" for split, count in hub.rows.items())
    if hub.absent:
        lacking = (f"{split} {' '.join(languages)}" for split, languages in hub.absent.items())
        text += f"; not there: {', '.join(lacking)}"
    return text


def _upstream(upstream: UpstreamFiles) -> str:
    addresses = dict.fromkeys(url.partition("#")[0] for url in upstream.urls.values())
    return "; ".join([*(f"`{address}`" for address in addresses), *([upstream.note] if upstream.note else [])])


def _local(local: LocalFiles) -> str:
    files = ", ".join(f"{split} `{path}`" for split, path in local.splits.items())
    return f"{files}; or {_local(local.otherwise)}" if local.otherwise else files


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _list(languages: tuple[str, ...]) -> str:
    return f"{len(languages)}: {' '.join(languages)}"
