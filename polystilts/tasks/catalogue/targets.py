"""Target tasks of XTREME and XTREME-R; languages of a benchmark as in the lists of its evaluate.py."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from polystilts.tasks.catalogue.helpers import by_benchmark, codes, frozen, three_splits, xtreme_files
from polystilts.tasks.catalogue.labels import COPA_QUESTIONS, NER_TAGS, NLI_LABELS, POS_TAGS
from polystilts.tasks.spec import HubFiles, LocalFiles, TaskSpec, UpstreamFiles

_POS_33 = "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko mr nl pt ru ta te th tl tr ur vi yo zh"
_POS_ADDED = "lt pl ro uk wo"
_NER_40 = f"{_POS_33} bn jv ka ml ms my sw"
_NER_ADDED = "az gu lt pa pl qu ro uk"
_TATOEBA_36 = (
    "af ar bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr nl pt ru sw ta te th tl tr ur vi zh"
)
_TATOEBA_ADDED = "az lt pl ro uk"
_XNLI = "ar bg de el en es fr hi ru sw th tr ur vi zh"
_XCOPA = "et ht id it qu sw ta th tr vi zh"
_XQUAD = "ar de el en es hi ru th tr vi zh"
_MLQA = "ar de en es hi vi zh"
_TYDIQA = "ar bn en fi id ko ru sw te"
_MEWSLIX = "ar de en es fa ja pl ro ta tr uk"


def _sorted(text: str) -> tuple[str, ...]:
    return tuple(sorted(text.split()))


XNLI = TaskSpec(
    name="xnli",
    title="XNLI",
    format="pair",
    metric="accuracy",
    languages=codes(_XNLI),
    labels=NLI_LABELS,
    train_task="mnli",
    parallel=True,
    hub=HubFiles(
        "facebook/xnli",
        "{language}",
        splits=frozen(validation="validation", test="test"),
        rows=MappingProxyType({"validation": 2490, "test": 5010}),
    ),
    local=xtreme_files("pair", "xnli", "validation test"),
    licence="CC BY-NC 4.0",
    non_commercial=True,
    benchmarks=by_benchmark(_XNLI, _XNLI),
)

PAWSX = TaskSpec(
    name="pawsx",
    title="PAWS-X",
    format="pair",
    metric="accuracy",
    languages=codes("de en es fr ja ko zh"),
    labels=("0", "1"),
    train_task="pawsx",
    skill="semantic",
    parallel=True,
    hub=three_splits(
        "google-research-datasets/paws-x",
        columns=frozen(premise="sentence1", hypothesis="sentence2"),
        rows=MappingProxyType({"train": 49401, "validation": 2000, "test": 2000}),
    ),
    local=xtreme_files("pair", "pawsx"),
    licence="Google, free use with acknowledgement",
    benchmarks=by_benchmark("de en es fr ja ko zh"),
)

UDPOS = TaskSpec(
    name="udpos",
    title="UD-POS",
    format="tagging",
    metric="pos_f1",
    languages=_sorted(f"{_POS_33} {_POS_ADDED}"),
    labels=POS_TAGS,
    train_task="udpos",
    skill="syntactic",
    hub=three_splits(
        "google/xtreme",
        "udpos.{language}",
        spelling="name",
        columns=frozen(tags="pos_tags"),
        absent=MappingProxyType(
            {
                "train": codes(f"th tl yo {_POS_ADDED}"),
                "validation": codes(f"kk th tl yo {_POS_ADDED}"),
                "test": codes(_POS_ADDED),
            }
        ),
        rows=MappingProxyType({"train": 21253, "validation": 3974, "test": 5440}),
    ),
    local=xtreme_files("tagged", "udpos"),
    licence="Universal Dependencies: one licence a treebank (CC BY-SA, CC BY-NC-SA, …)",
    non_commercial=True,
    benchmarks=by_benchmark(_POS_33, f"{_POS_33} {_POS_ADDED}"),
    note="the hub's Greek holds Ancient Greek too, which XTREME's own preparation does not",
)

PANX = TaskSpec(
    name="panx",
    title="WikiANN (PAN-X)",
    format="tagging",
    metric="span_f1",
    languages=_sorted(f"{_NER_40} {_NER_ADDED}"),
    labels=NER_TAGS,
    train_task="panx",
    skill="syntactic",
    hub=three_splits(
        "unimelb-nlp/wikiann",
        columns=frozen(tags="ner_tags"),
        rows=MappingProxyType({"train": 20000, "validation": 10000, "test": 10000}),
    ),
    local=xtreme_files("prefixed", "panx"),
    licence="ODC-BY",
    benchmarks=by_benchmark(_NER_40, f"{_NER_40} {_NER_ADDED}"),
)

XQUAD = TaskSpec(
    name="xquad",
    title="XQuAD",
    format="span",
    metric="qa",
    languages=_sorted(f"{_XQUAD} ro"),
    train_task="squad_v1",
    unit="paragraph",
    parallel=True,
    max_length=384,
    report_split="",
    drawn_from="squad_v1",
    hub=HubFiles(
        "google/xquad",
        "xquad.{language}",
        splits=frozen(validation="validation"),
        rows=MappingProxyType({"validation": 1190}),
    ),
    local=LocalFiles("squad", frozen(validation="xquad/xquad.{language}.json")),
    licence="CC BY-SA 4.0",
    benchmarks=by_benchmark(_XQUAD, f"{_XQUAD} ro"),
)

MLQA = TaskSpec(
    name="mlqa",
    title="MLQA",
    format="span",
    metric="qa_mlqa",
    languages=codes(_MLQA),
    train_task="squad_v1",
    # Most of its paragraphs hold one question, and languages share some of a paragraph's questions only.
    unit="id",
    parallel=True,
    max_length=384,
    hub=HubFiles(
        "facebook/mlqa",
        "mlqa.{language}.{language}",
        splits=frozen(validation="validation", test="test"),
        parquet_branch=True,
        rows=MappingProxyType({"validation": 1148, "test": 11590}),
    ),
    local=LocalFiles(
        "squad",
        frozen(
            validation="mlqa/MLQA_V1/dev/dev-context-{language}-question-{language}.json",
            test="mlqa/MLQA_V1/test/test-context-{language}-question-{language}.json",
        ),
    ),
    licence="CC BY-SA 3.0",
    benchmarks=by_benchmark(_MLQA, _MLQA),
)

TYDIQA = TaskSpec(
    name="tydiqa",
    title="TyDiQA-GoldP",
    format="span",
    metric="qa",
    languages=codes(_TYDIQA),
    train_task="tydiqa",
    skill="reading",
    checkpoint_split="",
    group="title",
    report_split="",
    unit="paragraph",
    max_length=384,
    hub=HubFiles(
        "google-research-datasets/tydiqa",
        "secondary_task",
        spelling="name",
        splits=frozen(train="train", validation="validation"),
        id_prefix="{language}-",
        rows=MappingProxyType({"train": 49881, "validation": 5077}),
    ),
    local=LocalFiles(
        "squad",
        frozen(
            train="tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.{language}.train.json",
            validation="tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.{language}.dev.json",
        ),
        # XTREME's preparation cuts the training ids down to a number that repeats.
        repeated_ids=("train",),
    ),
    licence="Apache-2.0",
    benchmarks=by_benchmark(_TYDIQA, _TYDIQA),
)

XCOPA = TaskSpec(
    name="xcopa",
    title="XCOPA",
    format="choice",
    metric="accuracy",
    languages=_sorted(f"{_XCOPA} en"),
    train_task="copa",
    selection="last",
    parallel=True,
    question_texts=COPA_QUESTIONS,
    hub=HubFiles(
        "cambridgeltl/xcopa",
        "{language}",
        splits=frozen(validation="validation", test="test"),
        absent=MappingProxyType({"validation": ("en",), "test": ("en",)}),
        rows=MappingProxyType({"validation": 100, "test": 500}),
    ),
    local=LocalFiles(
        "copa",
        frozen(validation="xcopa/val-{language}.jsonl", test="xcopa/test-{language}.jsonl"),
        # The names that XTREME's download leaves.
        otherwise=LocalFiles(
            "copa", frozen(validation="xcopa/val.{language}.jsonl", test="xcopa/test.{language}.jsonl")
        ),
    ),
    licence="CC BY 4.0",
    average_excludes=("en",),
    drawn_from="copa",
    note="protocol `copa`: COPA alone",
)

XCOPA_AFTER_SIQA = replace(
    XCOPA,
    name="xcopa_after_siqa",
    title="XCOPA after Social IQa",
    rows_of="xcopa",
    before=("siqa",),
    benchmarks=by_benchmark(xtreme_r=_XCOPA),
    note="protocol `siqa→copa` of XTREME-R: five epochs of Social IQa, then five of COPA from that checkpoint",
)

TATOEBA = TaskSpec(
    name="tatoeba",
    title="Tatoeba",
    format="sentence",
    metric="retrieval",
    languages=_sorted(f"{_TATOEBA_36} {_TATOEBA_ADDED}"),
    report_split="",
    unit="query",
    max_length=512,
    hub=HubFiles(
        "google/xtreme",
        "tatoeba.{language}",
        spelling="iso3",
        splits=frozen(validation="validation"),
        columns=frozen(candidate="source_sentence", query="target_sentence"),
        absent=MappingProxyType({"validation": codes(_TATOEBA_ADDED)}),
        rows=MappingProxyType({"validation": 1000}),
    ),
    local=LocalFiles("bitext", frozen(validation="tatoeba/tatoeba.{language}-eng.{language}"), spelling="iso3"),
    licence="CC BY 2.0 FR",
    benchmarks=by_benchmark(_TATOEBA_36),
    note="protocol `direct`: the encoder as it is; English is the query side, ties go to the lower index",
)

TATOEBA_AFTER_SQUAD = replace(
    TATOEBA,
    name="tatoeba_after_squad",
    title="Tatoeba after SQuAD",
    rows_of="tatoeba",
    train_task="squad_v1",
    benchmarks=by_benchmark(xtreme_r=f"{_TATOEBA_36} {_TATOEBA_ADDED}"),
    note="protocol `after-squad` of XTREME-R: fine-tuned on SQuAD 1.1 first, so it shares XQuAD's checkpoint",
)

BUCC = TaskSpec(
    name="bucc2018",
    title="BUCC 2018",
    format="sentence",
    metric="mining_f1",
    languages=codes("de fr ru zh"),
    unit="query",
    max_length=512,
    upstream=UpstreamFiles(
        frozen(
            **{
                f"bucc2018/{{language}}-en.{split}.{side}": (
                    f"https://comparable.limsi.fr/bucc2018/bucc2018-{{language}}-en.{name}-gold.tar.bz2"
                    f"#bucc2018/{{language}}-en/{{language}}-en.{name}.{side}"
                )
                for split, name in (("dev", "sample"), ("test", "training"))
                for side in ("{language}", "en", "gold")
            }
        )
    ),
    local=LocalFiles(
        "mining",
        frozen(
            validation="bucc2018/{language}-en.dev.{language}",
            test="bucc2018/{language}-en.test.{language}",
        ),
    ),
    licence="research use",
    non_commercial=True,
    benchmarks=by_benchmark("de fr ru zh"),
    note="XTREME's test is BUCC's training set, its dev the sample set; hub copies lack the distractor sentences",
)

SQUAD_SENTENCES = TaskSpec(
    name="squad_sentences",
    title="SQuAD 1.1 as retrieval",
    format="sentence",
    metric="retrieval",
    rows_of="squad_v1",
    shape="answer_sentence",
    train_task="squad_sentences",
    choice_split="",
    report_split="",
    selection="last",
    unit="query",
    pooling="pooler",
    max_length=256,
    max_question_length=96,
    micro_batch_rows=4,
    hub=HubFiles("rajpurkar/squad", "plain_text", splits=frozen(train="train", validation="validation")),
    local=LocalFiles("squad", frozen(train="squad/train-v1.1.json", validation="squad/dev-v1.1.json")),
    licence="CC BY-SA 4.0",
    note="question → the sentence that holds the answer, with its paragraph; trains LAReQA",
)

LAREQA = TaskSpec(
    name="lareqa",
    title="LAReQA (XQuAD-R)",
    format="sentence",
    metric="map_at_20",
    languages=codes(_XQUAD),
    train_task="squad_sentences",
    report_split="",
    unit="query",
    parallel=True,
    pooling="pooler",
    max_length=256,
    max_question_length=96,
    drawn_from="squad_sentences",
    upstream=UpstreamFiles(
        frozen(
            **{
                "lareqa/xquad-r/{language}.json": (
                    "https://github.com/google-research-datasets/lareqa/raw/master/xquad-r/{language}.json"
                )
            }
        )
    ),
    local=LocalFiles("lareqa", frozen(validation="lareqa/xquad-r/{language}.json")),
    licence="CC BY-SA 4.0",
    benchmarks=by_benchmark(xtreme_r=_XQUAD),
    note="ranked against the candidates of all languages at once; with fewer than eleven languages another task",
)

MEWSLIX_PAIRS = TaskSpec(
    name="mewslix_pairs",
    title="Mewsli-X's Wikipedia pairs",
    format="sentence",
    metric="retrieval",
    train_task="mewslix_pairs",
    choice_split="",
    report_split="",
    unit="query",
    pooling="pooler",
    max_length=64,
    max_question_length=64,
    micro_batch_rows=8,
    upstream=UpstreamFiles(
        MappingProxyType({}),
        note="run get-mewsli-x.sh of google-research (dense_representations_for_entity_retrieval/mel) and copy its "
        "output to mewslix/",
    ),
    local=LocalFiles(
        "mention_pairs",
        frozen(train="mewslix/wikipedia_pairs-train.jsonl", validation="mewslix/wikipedia_pairs-dev.jsonl"),
    ),
    licence="CC BY-SA 3.0",
    note="English mention → entity; trains Mewsli-X",
)

MEWSLIX = TaskSpec(
    name="mewslix",
    title="Mewsli-X",
    format="sentence",
    metric="map_at_20",
    languages=codes(_MEWSLIX),
    train_task="mewslix_pairs",
    pool_split="candidates",
    unit="query",
    pooling="pooler",
    max_length=64,
    max_question_length=64,
    upstream=MEWSLIX_PAIRS.upstream,
    local=LocalFiles(
        "mentions",
        frozen(
            validation="mewslix/wikinews_mentions-dev.jsonl",
            test="mewslix/wikinews_mentions-test.jsonl",
            candidates="mewslix/candidate_set_entities.jsonl",
        ),
    ),
    licence="CC BY-SA 3.0, CC BY 2.5",
    benchmarks=by_benchmark(xtreme_r=_MEWSLIX),
)

MASAKHANER = TaskSpec(
    name="masakhaner",
    title="MasakhaNER, trained on WikiANN",
    format="tagging",
    metric="span_f1",
    languages=codes("am ig sw wo"),
    labels=NER_TAGS,
    train_task="panx",
    report_split="",
    local=LocalFiles(
        "spaced",
        frozen(validation="masakhaner-transfer/{language}/dev.txt"),
        names=frozen(am="am", ig="ibo", sw="swa", wo="wol"),
    ),
    licence="CC BY-NC 4.0",
    non_commercial=True,
    note="not of XTREME: low-resource languages for a tagger trained on English WikiANN; local files only",
)

TARGETS = (
    XNLI,
    PAWSX,
    UDPOS,
    PANX,
    XQUAD,
    MLQA,
    TYDIQA,
    BUCC,
    TATOEBA,
    TATOEBA_AFTER_SQUAD,
    XCOPA,
    XCOPA_AFTER_SIQA,
    LAREQA,
    MEWSLIX,
    MASAKHANER,
)
#: What LAReQA and Mewsli-X are trained on.
RETRIEVAL_TRAINING = (SQUAD_SENTENCES, MEWSLIX_PAIRS)
