"""Intermediate tasks about code."""

from __future__ import annotations

from types import MappingProxyType

from polystilts.tasks.catalogue.helpers import frozen, table
from polystilts.tasks.catalogue.intermediate import intermediate
from polystilts.tasks.spec import HubFiles, LocalFiles

COSQA = intermediate(
    "cosqa",
    "CoSQA: does this code answer the query?",
    "pair",
    "accuracy",
    "code",
    labels=("0", "1"),
    max_length=256,
    hub=HubFiles(
        "gonglinyuan/CoSQA",
        splits=frozen(train="train", validation="validation"),
        files=frozen(train="cosqa-train.json", validation="cosqa-dev.json"),
        columns=frozen(premise="doc", hypothesis="code"),
        rows=MappingProxyType({"train": 20000, "validation": 604}),
    ),
    local=LocalFiles(
        "table",
        frozen(train="cosqa/cosqa-train.json", validation="cosqa/cosqa-dev.json"),
        columns=frozen(premise="doc", hypothesis="code"),
    ),
    licence="C-UDA",
)

DEFECT = intermediate(
    "defect",
    "CodeXGLUE defect detection",
    "pair",
    "accuracy",
    "code",
    labels=("sound", "vulnerable"),
    shape="defect",
    max_length=400,
    hub=HubFiles(
        "google/code_x_glue_cc_defect_detection",
        splits=frozen(train="train", validation="validation"),
        rows=MappingProxyType({"train": 21854, "validation": 2732}),
    ),
    local=table(train="defect/train.jsonl", validation="defect/valid.jsonl"),
    licence="C-UDA",
    note="one text: the function; the second text of the pair stays empty",
)

CLONE = intermediate(
    "clone",
    "CodeXGLUE clone detection (BigCloneBench)",
    "pair",
    "accuracy",
    "code",
    labels=("different", "clone"),
    max_length=400,
    hub=HubFiles(
        "google/code_x_glue_cc_clone_detection_big_clone_bench",
        splits=frozen(train="train", validation="validation"),
        columns=frozen(premise="func1", hypothesis="func2"),
        rows=MappingProxyType({"train": 901028, "validation": 415416}),
    ),
    local=LocalFiles(
        "table",
        frozen(train="clone/train.jsonl", validation="clone/valid.jsonl"),
        columns=frozen(premise="func1", hypothesis="func2"),
    ),
    licence="C-UDA",
)

CODESEARCH = intermediate(
    "codesearch",
    "CodeSearchNet AdvTest code search",
    "sentence",
    "retrieval",
    "code",
    pooling="pooler",
    max_length=256,
    max_question_length=128,
    unit="query",
    hub=HubFiles(
        "google/code_x_glue_tc_nl_code_search_adv",
        splits=frozen(train="train", validation="validation"),
        columns=frozen(query="docstring", candidate="code"),
        rows=MappingProxyType({"train": 251820, "validation": 9604}),
    ),
    local=LocalFiles(
        "table",
        frozen(train="codesearch/train.jsonl", validation="codesearch/valid.jsonl"),
        columns=frozen(query="docstring", candidate="code"),
    ),
    licence="C-UDA; each repository its own",
    note="docstring and code are embedded apart and trained against the other pairs of a micro-batch",
)

CODE = (COSQA, DEFECT, CLONE, CODESEARCH)
