"""ONE MEANING BECOMES ONE ROW: the columns, label orders and quirks of each real data set.

Sources: the documentation of each data set on the Hugging Face hub; where the hub has no copy (CCG, LAReQA, Mewsli-X,
BUCC, MasakhaNER) the columns are those of the library's own readers. Quirks that are reproduced: SNLI's rows without
consensus (label -1), SQuAD 2.0's empty answers, PAWS-X's sentences that nobody translated (``NS``), HellaSwag's,
CommonsenseQA's and Social IQa's labels as texts, Tatoeba's newlines, TyDiQA's languages in the ids, sentences that
occur twice on a side of BUCC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polystilts.data.micro import draw, plots
from polystilts.data.micro.grammar import (
    Event,
    Meaning,
    Scene,
    Word,
    answer,
    capitalise,
    clause,
    function,
    joined,
    lexicon,
    say,
    words,
    write,
)
from polystilts.data.micro.text import PROMPTS, together

_POS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"
POS_TAGS = _POS.split()
NER_TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
#: Lexical categories of CCGbank for the words of the English sentences.
CCG_TAGS = (
    "(S/S)/N",
    "(S/S)/NP",
    "((S\\NP)\\(S\\NP))/N",
    "((S\\NP)\\(S\\NP))/NP",
    "(S[dcl]\\NP)/(S[adj]\\NP)",
    "(S[dcl]\\NP)/NP",
    "(S\\NP)/(S\\NP)",
    ".",
    "N",
    "N/N",
    "S[adj]\\NP",
    "S[dcl]\\NP",
    "conj",
)
#: The names that begin TyDiQA's ids.
ENGLISH_NAMES = {"en": "english", "ru": "russian", "sw": "swahili"}
NONE_ABOVE = "None of the above choices ."

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class At:
    """Where a row stands: `index` in its split, `number` in the pool of its family."""

    split: str
    language: str
    index: int
    number: int


def mnli(given: draw.Nli, at: At) -> Row:
    return {**xnli(given, at), "idx": at.index}


def xnli(given: draw.Nli, at: At) -> Row:
    return {
        "premise": say(given.premise, at.language),
        "hypothesis": say(given.hypothesis, at.language),
        "label": given.label,
    }


def snli(given: draw.Nli, at: At) -> Row:
    row = xnli(given, at)
    return {**row, "label": -1} if at.index % 40 == 39 else row


def anli(given: draw.Nli, at: At) -> Row:
    row = xnli(given, at)
    label = row.pop("label")
    reason = "" if at.index % 3 else f"{row['premise']} {row['hypothesis']}"
    return {"uid": f"micro-{at.number:05d}", **row, "label": label, "reason": reason}


def pawsx(given: draw.Paraphrase, at: At) -> Row:
    first, second = say(given.first, at.language), say(given.second, at.language)
    return {"id": at.index + 1, "sentence1": first, "sentence2": second, "label": given.label}


def pawsx_translated(given: draw.Paraphrase, at: At) -> Row:
    row = pawsx(given, at)
    column = "sentence2" if at.index % 3 else "sentence1"
    # Other rows in every language, as in the real set.
    return {**row, column: "NS"} if (at.index + 7 * ord(at.language[0])) % 100 == 0 else row


def qqp(given: plots.Duplicate, at: At) -> Row:
    first, second = say(given.first, at.language), say(given.second, at.language)
    return {"question1": first, "question2": second, "label": given.label, "idx": at.index}


def copa(given: draw.Choice, at: At) -> Row:
    first, second = (say(choice, at.language) for choice in given.choices)
    premise = say(given.premise, at.language)
    row = {"premise": premise, "choice1": first, "choice2": second, "question": given.question}
    return {**row, "idx": at.index, "label": given.label}


def xcopa(given: draw.Choice, at: At) -> Row:
    return {**copa(given, at), "changed": False}


def hellaswag(given: plots.Riddle, at: At) -> Row:
    premise, endings = (
        say(given.story[0], at.language),
        [say(choice, at.language) for choice in given.choices if choice],
    )
    # WikiHow's rows have no second part of the context, and whole sentences as endings.
    subject = "" if at.index % 2 else write(lexicon()["person"][given.story[0].subject].form(at.language), "en")[0]
    endings = [text.removeprefix(subject).strip() for text in endings]
    return {
        "ind": at.number,
        "activity_label": given.story[0].predicate.replace("_", " ").capitalize(),
        "ctx_a": premise,
        "ctx_b": subject,
        "ctx": f"{premise} {subject}".strip(),
        "endings": endings,
        "source_id": f"micro~{at.number}",
        "split": "train" if at.split == "train" else "val",
        "split_type": "indomain",
        "label": str(given.label),
    }


def cosmosqa(given: plots.Riddle, at: At) -> Row:
    choices = [say(choice, at.language) if choice else NONE_ABOVE for choice in given.choices]
    return {
        "id": f"micro##{at.number}",
        "context": together(given.story, at.language),
        "question": PROMPTS[given.question],
        **{f"answer{number}": choice for number, choice in enumerate(choices)},
        "label": given.label,
    }


def csqa(given: plots.Quiz, at: At) -> Row:
    table = lexicon()
    concept = write(table["verb"][given.query.scene.verb].form(at.language), at.language)[0]
    texts = [write(table["object"][name].form(at.language), at.language)[0] for name in given.choices]
    return {
        "id": f"{at.number:032x}",
        "question": say(given.query, at.language),
        "question_concept": concept,
        "choices": {"label": list("ABCDE"), "text": texts},
        "answerKey": "ABCDE"[given.label],
    }


def siqa(given: plots.Riddle, at: At) -> Row:
    choices = [say(choice, at.language) for choice in given.choices if choice]
    return {
        "context": say(given.story[0], at.language),
        "question": PROMPTS[given.question],
        **dict(zip(("answerA", "answerB", "answerC"), choices, strict=True)),
        "label": str(given.label + 1),
    }


def xquad(given: draw.Reading, at: At) -> Row:
    language = at.language
    sentences = [words(scene, language) for scene in given.context]
    before = sum(len(sentence) for sentence in sentences[: given.target])
    context, spans = write([word for sentence in sentences for word in sentence], language)
    answers: dict[str, list[Any]] = {"text": [], "answer_start": []}
    if given.target >= 0:
        first, last = answer(given.query, language, sentences[given.target])
        start, end = spans[before + first][0], spans[before + last - 1][1]
        answers = {"text": [context[start:end]], "answer_start": [start]}
    return {
        "id": f"micro-{at.number:05d}",
        "context": context,
        "question": say(given.query, language),
        "answers": answers,
    }


def squad(given: draw.Reading, at: At) -> Row:
    row = xquad(given, at)
    return {"id": row.pop("id"), "title": "Micro world", **row}


def squad_v2(given: draw.Reading, at: At) -> Row:
    return {**squad(given, at), "id": f"micro-v2-{at.number:05d}"}


def mlqa(given: draw.Reading, at: At) -> Row:
    row = xquad(given, at)
    return {name: row[name] for name in ("context", "question", "answers", "id")}


def tydiqa(given: draw.Reading, at: At) -> Row:
    first, table = given.context[0], lexicon()
    title = [*table["person"][first.subject].form(at.language), *table["place"][first.place].form(at.language)]
    return {
        **squad(given, at),
        "id": f"{ENGLISH_NAMES[at.language]}-{at.number:05d}",
        "title": write(title, at.language)[0],
    }


def lareqa(given: draw.Reading, at: At) -> list[Row]:
    """A question of XQuAD, and the sentences of its paragraph, each with the paragraph behind it."""
    row = xquad(given, at)
    rows: list[Row] = [{"id": row["id"], "text": row["question"], "query": True, "keys": [row["id"]]}]
    for place, scene in enumerate(given.context):
        keys = [row["id"]] if place == given.target else []
        text = say(scene, at.language) + row["context"]
        # Questions are the same in all languages, candidates are not: they are ranked together.
        rows.append({"id": f"{at.language}_{at.index + 1}_{place}", "text": text, "query": False, "keys": keys})
    return rows


def udpos(given: Meaning, at: At) -> Row:
    sentence = words(given, at.language)
    return {
        "tokens": [word.text for word in sentence],
        "pos_tags": [POS_TAGS.index(word.tag) for word in sentence],
    }


def panx(given: Sequence[Scene], at: At) -> Row:
    language = at.language
    sentence = joined(given[0], given[1], language) if len(given) == 2 else words(given[0], language)
    names = {word.text for concept in lexicon()["organisation"].values() for word in concept.form(language)}
    tags: list[str] = []
    for word in sentence:
        kind = {"subject": "ORG" if word.text in names else "PER", "place": "LOC"}.get(word.role) if word.head else None
        inside = kind and tags and tags[-1].endswith(kind)
        tags.append(f"{'I' if inside else 'B'}-{kind}" if kind else "O")
    return {
        "tokens": [word.text for word in sentence],
        "ner_tags": [NER_TAGS.index(tag) for tag in tags],
        "langs": [language] * len(sentence),
    }


def masakhaner(given: Sequence[Scene], at: At) -> Row:
    row = panx(given, at)
    return {"tokens": row["tokens"], "tags": [NER_TAGS[tag] for tag in row["ner_tags"]]}


def ccg(given: Sequence[Scene | Event], at: At) -> Row:
    sentence, _ = _parsed(given)
    return {"tokens": [word.text for word in sentence], "tags": _supertags(sentence)}


def deprel(given: Sequence[Scene | Event], at: At) -> Row:
    sentence, starts = _parsed(given)
    return {"tokens": [word.text for word in sentence], "deprel": _relations(sentence, starts)}


def _parsed(given: Sequence[Scene | Event]) -> tuple[list[Word], set[int]]:
    """The English sentence of one or two clauses, and where its clauses begin."""
    sentence, starts = clause(given[0], "en"), {0}
    for more in given[1:]:
        sentence += function("and", "en")
        starts.add(len(sentence))
        sentence += clause(more, "en")
    return capitalise(sentence) + function("stop", "en"), starts


def _supertags(sentence: Sequence[Word]) -> list[str]:
    tags = []
    after_verb = False
    for word, following in zip(sentence, [*sentence[1:], sentence[-1]], strict=True):
        name = word.tag in ("PROPN", "NOUN")
        if word.tag in ("PUNCT", "CCONJ"):
            tags.append("." if word.tag == "PUNCT" else "conj")
            after_verb = False
        elif name:
            tags.append("N/N" if following.role == word.role and following.tag == word.tag else "N")
        elif word.tag in ("ADP", "DET"):
            argument = "NP" if word.tag == "ADP" else "N"
            tags.append(f"((S\\NP)\\(S\\NP))/{argument}" if after_verb else f"(S/S)/{argument}")
        elif word.tag == "ADV":
            tags.append("(S\\NP)/(S\\NP)")
        elif word.tag == "ADJ":
            tags.append("S[adj]\\NP")
        else:
            after_verb = True
            transitive = following.tag == "NOUN" and following.role in ("object", word.role)
            argument = "(S[adj]\\NP)" if word.tag == "AUX" else "NP" if transitive else ""
            tags.append(f"(S[dcl]\\NP)/{argument}" if argument else "S[dcl]\\NP")
    return tags


def _relations(sentence: Sequence[Word], starts: set[int]) -> list[str]:
    """Relations of Universal Dependencies, with the subtype that English treebanks use for bare times."""
    relations: list[str] = []
    for place, word in enumerate(sentence):
        before = sentence[place - 1] if place and place not in starts else None
        if word.tag == "PROPN":
            flat = before is not None and before.tag == "PROPN" and before.role == word.role
            relations.append("flat" if flat else "nsubj" if word.role == "subject" else "obl")
        elif word.tag == "NOUN":
            relations.append("obl:unmarked" if word.role == "time" else "obj")
        elif word.tag in ("VERB", "ADJ"):
            relations.append("conj" if "root" in relations else "root")
        else:
            own = {"ADP": "case", "DET": "det", "ADV": "advmod", "AUX": "cop", "CCONJ": "cc", "PUNCT": "punct"}
            relations.append(own[word.tag])
    return relations


def tatoeba(given: Sequence[tuple[Scene, Scene]], at: At) -> Row:
    source, target = (_pair(given[at.index % len(given)], speech) for speech in (at.language, "en"))
    return {"source_sentence": source + "\n", "target_sentence": target + "\n"}


def _pair(given: tuple[Scene, Scene], language: str) -> str:
    return write(joined(*given, language), language)[0]


def bucc(given: Sequence[tuple[Scene, Scene]], at: At) -> list[Row]:
    """A sentence with its translation or with one of the same words, and once in ten a sentence that occurs twice.

    Ids are scattered, as the files of both sides are sorted by id and say nothing about who belongs to whom.
    """

    def item(meaning: tuple[Scene, Scene], side: str, copy: int = 0) -> Row:
        name = f"{at.language} {side} {at.number} {copy}"
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % 10**9
        return {"id": f"{side}-{number:09d}", "text": _pair(meaning, side), "query": side != "en", "keys": []}

    if at.index % 5 == 3:
        rows = [item(given[1], at.language), item(given[2], "en")]
    else:
        rows = [item(given[0], at.language), item(given[0], "en")]
        keys = ["\t".join(row["id"] for row in rows)]
        rows = [{**row, "keys": keys} for row in rows]
    if at.index % 5 == 1:  # beside the pair a sentence of the same words
        rows.append(item(given[3], "en", copy=1))
    if at.index % 10 == 0:
        rows.append(item(given[0], at.language, copy=2))
    if at.index % 10 == 5:
        rows.append(item(given[0], "en", copy=2))
    return rows


def mewslix(given: plots.Mention, at: At) -> Row:
    return {
        "id": f"{at.language}-{at.number:05d}",
        "text": _marked(given, at.language),
        "query": True,
        "keys": [given.entity.id],
    }


def entity(given: plots.Entity, at: At) -> Row:
    return {"id": given.id, "text": say(given.fact, given.language), "query": False, "keys": [given.id]}


def mewslix_pair(given: plots.Mention, at: At) -> Row:
    return {"query": _marked(given, at.language), "candidate": say(given.entity.fact, at.language)}


def _marked(given: plots.Mention, language: str) -> str:
    """The mention's name and the sentence with the mention between braces, as XTREME-R writes it."""
    sentence = words(given.scene, language)
    inside = [place for place, word in enumerate(sentence) if word.role == given.entity.role and word.head]
    first, last = inside[0], inside[-1] + 1
    colon, opened, closed = Word(":", "PUNCT", "mark"), Word("{", "SYM", "mark"), Word("}", "SYM", "mark")
    name, rest = sentence[first:last], sentence[last:]
    return write([*name, colon, *sentence[:first], opened, *name, closed, *rest], language)[0]


def cosqa(given: draw.Paraphrase, at: At) -> Row:
    query, code = _words(given.first), _program(given.second)
    return {
        "idx": f"cosqa-{'train' if at.split == 'train' else 'dev'}-{at.index}",
        "doc": f"python {query}",
        "code": code,
        "code_tokens": " ".join(code.split()),
        "docstring_tokens": _words(given.second),
        "label": given.label,
    }


def defect(given: plots.Fault, at: At) -> Row:
    (one, verb, thing), (_, other_verb, other) = (_forms(call) for call in given.calls)
    lines = [f"def {one} ( where ) :", f"{verb} ( {thing} )", f"return {other_verb} ( {other} )"]
    return {
        "id": at.number,
        "func": "\n    ".join(lines) + "\n",
        "target": bool(given.label),
        "project": "micro",
        "commit_id": f"{at.number:040x}",
    }


def clone(given: draw.Paraphrase, at: At) -> Row:
    return {
        "id": at.index,
        "id1": 2 * at.number,
        "id2": 2 * at.number + 1,
        "func1": _program(given.first),
        "func2": _program(given.second, early=True),
        "label": bool(given.label),
    }


def codesearch(given: Scene, at: At) -> Row:
    code, docstring = _program(given), say(given, "en")
    name = _forms(given)[1]
    return {
        "id": at.index,
        "repo": "micro/world",
        "path": f"micro/{name}.py",
        "func_name": name,
        "original_string": code,
        "language": "python",
        "code": code,
        "code_tokens": code.split(),
        "docstring": docstring,
        "docstring_tokens": docstring.rstrip(".").split(),
        "sha": f"{at.number:040x}",
        "url": f"https://example.org/micro/{name}.py#L{at.number}",
        "docstring_summary": docstring,
        "parameters": "(where, when)",
        "return_statement": "",
        "argument_list": "",
        "identifier": name,
        "nwo": "micro/world",
        "score": 1.0,
    }


def _words(scene: Scene) -> str:
    return write(clause(scene, "en"), "en")[0]


def _forms(scene: Scene) -> tuple[str, str, str]:
    """Subject, verb and object in English."""
    table = lexicon()
    concepts = (table["person"][scene.subject], table["verb"][scene.verb], table["object"][scene.object])
    subject, verb, thing = (write(concept.form("en"), "en")[0] for concept in concepts)
    return subject, verb, thing


def _program(scene: Scene, *, early: bool = False) -> str:
    """A Python function with a scene's words as its names; `early`: the same written with an early return.

    Names stand apart from brackets, so that the micro tokenizer finds the words of the lexicon.
    """
    subject, verb, thing = _forms(scene)
    table = lexicon()
    place = " ".join(word.text for word in table["place"][scene.place].form("en") if word.head)
    time = write(table["time"][scene.time].form("en"), "en")[0]
    if early:
        lines = [
            f"def {thing} ( when , where ) :",
            f'    if when != " {time} " or where != " {place} " :',
            "        return",
            f"    return {verb} ( who = {subject} , what = {thing} )",
        ]
    else:
        lines = [
            f"def {verb} ( where , when ) :",
            f'    if where == " {place} " and when == " {time} " :',
            f"        return {subject} . {verb} ( {thing} )",
        ]
    return "\n".join(lines) + "\n"


#: Data set (or Mewsli-X's entities) -> what makes a row (or, for a collection, several) of a meaning.
MAKERS: Mapping[str, Callable[..., Row | list[Row]]] = {
    "mnli": mnli,
    "xnli": xnli,
    "pawsx": pawsx,
    "copa": copa,
    "xcopa": xcopa,
    "squad_v1": squad,
    "xquad": xquad,
    "udpos": udpos,
    "panx": panx,
    "tatoeba": tatoeba,
    "anli": anli,
    "snli": snli,
    "qqp": qqp,
    "squad_v2": squad_v2,
    "hellaswag": hellaswag,
    "cosmosqa": cosmosqa,
    "csqa": csqa,
    "siqa": siqa,
    "ccg": ccg,
    "deprel": deprel,
    "cosqa": cosqa,
    "defect": defect,
    "clone": clone,
    "codesearch": codesearch,
    "mlqa": mlqa,
    "tydiqa": tydiqa,
    "lareqa": lareqa,
    "bucc2018": bucc,
    "mewslix_pairs": mewslix_pair,
    "mewslix": mewslix,
    "entities": entity,
    "masakhaner": masakhaner,
    "mnli_translated": xnli,
    "pawsx_translated": pawsx_translated,
    "squad_translated": mlqa,
}
