"""choice: one row a choice, the prompt's end is kept."""

import numpy as np
import pytest

from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.values import ChoiceExample, Rejected
from tests.world.encoder import letter_tokenizer


def choice_format(max_length=16):
    settings = FormatSettings("choice", max_length=max_length, question_texts={"cause": "x y"})
    return make_format(Pieces(letter_tokenizer()), settings)


def example(premise, question, *choices, label=None):
    return ChoiceExample("0", "en", premise, question, choices, label)


@pytest.mark.parametrize(("question", "prompt"), [("cause", [4, 5, 27, 28]), ("z", [4, 5, 29]), ("", [4, 5])])
def test_the_question_follows_the_premise(question, prompt):
    [rows] = choice_format().encode([example("a b", question, "c", "d e")])
    assert [row.input_ids.tolist() for row in rows] == [
        [0, *prompt, 2, 2, 6, 2],
        [0, *prompt, 2, 2, 7, 8, 2],
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("k", [0, 6, 27, 28, 2, 2, 14, 2]),
        ("k l m", [0, 28, 2, 2, 14, 15, 16, 2]),
        ("k l m n", [0, 2, 2, 14, 15, 16, 17, 2]),
        ("k l m n o", [0, 2, 2, 14, 15, 16, 17, 2]),
    ],
)
def test_a_long_prompt_keeps_its_end(choice, expected):
    [rows] = choice_format(max_length=8).encode([example("a b c", "cause", choice, "z")])
    assert rows[0].input_ids.tolist() == expected


@pytest.mark.parametrize("choices", [(), ("c",)])
def test_fewer_than_two_choices_are_refused_alone(choices):
    good = example("a", "", "b", "c")
    encoded = choice_format().encode([good, example("a", "", *choices), good])
    assert isinstance(encoded[1], Rejected)
    assert encoded[1].error.param == "choices"
    assert (encoded[1].error.limit, encoded[1].error.given) == (2, len(choices))
    assert [row.input_ids.tolist() for row in encoded[2]] == [[0, 4, 2, 2, 5, 2], [0, 4, 2, 2, 6, 2]]
    assert [len(row) for row in encoded[0]] == [6, 6]


def test_targets_mark_the_right_choice():
    format_ = choice_format()
    item = example("a", "", "b", "c", "d", label=2)
    [rows] = format_.encode([item])
    assert [target.tolist() for target in format_.targets(item, rows)] == [0, 0, 1]


def test_decode_scores_the_choices_against_each_other():
    outputs = [{"logits": np.log([ratio]).astype(np.float32)} for ratio in (1.0, 6.0, 3.0)]
    prediction = choice_format().decode(example("a", "", "b", "c", "d"), [], outputs)
    assert prediction.label == 1
    assert prediction.probabilities == pytest.approx((0.1, 0.6, 0.3))
