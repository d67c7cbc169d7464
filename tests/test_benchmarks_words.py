"""benchmarks/words: texts out of tokens, tags of words onto gold tokens, and what is lost on the way."""

import pytest

from benchmarks.words import Loss, loss, onto_tokens, put_together, table, word_of
from polystilts.formats import words
from polystilts.formats.values import TaggingExample, TaggingPrediction

TAGS = ("VERB", "NOUN")


@pytest.mark.parametrize(
    ("language", "tokens", "text"),
    [
        ("en", "The cat ( a hub ) sleeps , twice : yes .", "The cat (a hub) sleeps, twice: yes."),
        ("en", "I do n't know Anna 's dog", "I don't know Anna's dog"),
        ("en", "She said \" no \" and left", 'She said "no" and left'),
        ("fr", "l' eau d’ Anna « oui »", "l'eau d’Anna «oui»"),
        ("es", "¿ Quién ?", "¿Quién?"),
        ("hi", "वह सोती है ।", "वह सोती है।"),
        ("zh", "猫 在 New York 睡觉 。", "猫在New York睡觉。"),
        ("ja", "50 周年", "50周年"),
    ],
)  # fmt: skip
def test_a_text_is_put_together(language: str, tokens: str, text: str) -> None:
    gold = tokens.split()
    found, places = put_together(gold, language)
    assert found == text
    assert [found[start:end] for start, end in places] == gold


def test_a_token_belongs_to_the_word_it_shares_most_with() -> None:
    found = [words.Word("do", 0, 2), words.Word("n't", 2, 5), words.Word("know", 6, 10)]
    assert word_of([(0, 5), (6, 8), (8, 10), (10, 12)], found) == [1, 2, 2, None]
    assert word_of([(0, 4)], [words.Word("ab", 0, 2), words.Word("cd", 2, 4)]) == [0]
    assert word_of([(0, 2)], []) == [None]


def test_several_tokens_of_one_word_are_one_entity() -> None:
    assert onto_tokens([0, 0, 1, None, 2, 3], ["B-PER", "O", "B-LOC", "B-LOC"], "O") == [
        "B-PER", "I-PER", "O", "O", "B-LOC", "B-LOC",
    ]  # fmt: skip
    assert onto_tokens([0, 0, None], ["VERB"], "X") == ["VERB", "VERB", "X"]


class Lengths:
    """Tags words of up to three characters as verbs, longer ones as nouns."""

    def predict(self, examples: list[TaggingExample]) -> list[TaggingPrediction]:
        tags = [tuple(TAGS[len(word) > 3] for word in example.tokens) for example in examples]
        return [TaggingPrediction(found, (1.0,) * len(found)) for found in tags]


def test_what_raw_text_costs() -> None:
    # ICU does not cut "don't": its five letters make nouns of two tokens that are verbs by themselves.
    tokens = ("do", "n't", "walk", ".")
    row = TaggingExample("0", "en", tokens, ("VERB", "VERB", "NOUN", "VERB"))
    assert loss(Lengths(), "udpos", "en", [row, row]) == Loss("udpos", "en", 2, 50.0, 100.0, 50.0, 50.0)  # type: ignore[arg-type]


def test_a_text_without_words_loses_everything() -> None:
    row = TaggingExample("0", "en", ("\u200b",), ("NOUN",))
    found = loss(Lengths(), "udpos", "en", [row])  # type: ignore[arg-type]
    assert (found.found, found.raw, found.same) == (0.0, 0.0, 0.0)


def test_what_changes_most_stands_first() -> None:
    rows = table([Loss("t", "de", 1, 90, 80, 79, 98), Loss("t", "zh", 1, 70, 60, 40, 75)]).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| zh", "| de", "| mean"]
    assert rows[2].endswith("| 75.0 | 60.0 | 40.0 | 20.0 |")
    assert rows[-1] == "| mean | | 80.0 | 86.5 | 70.0 | 59.5 | 10.5 |"
