"""span: windows, labels and answers, in every script."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polystilts.errors import InvalidValue
from polystilts.formats import FormatSettings, Pieces, make_format
from polystilts.formats.values import Answer, Rejected, SpanExample
from tests.world.encoder import letter_tokenizer, tiny_format

CONTEXT = "a b c d e f g h"


def span_format(max_length=10, **changed):
    values = {"max_question_length": 3, "doc_stride": 2, "max_answer_length": 3} | changed
    return make_format(Pieces(letter_tokenizer()), FormatSettings("span", max_length=max_length, **values))


def example(context, *answers, question="q"):
    return SpanExample("0", "en", question, context, tuple(Answer(text, start) for text, start in answers))


def one_hot(features, places, value=10.0):
    """Outputs with `value` at the given (first, last) of each window and 0 elsewhere."""
    outputs = []
    for feature, (first, last) in zip(features, places, strict=True):
        start, end = np.zeros((2, len(feature)), dtype=np.float32)
        start[first] = end[last] = value
        outputs.append({"start": start, "end": end})
    return outputs


class TestWindows:
    def test_they_overlap_and_reach_the_end(self):
        [rows] = span_format().encode([example(CONTEXT)])
        assert [row.input_ids.tolist() for row in rows] == [
            [0, 20, 2, 2, 4, 5, 6, 7, 8, 2],
            [0, 20, 2, 2, 6, 7, 8, 9, 10, 2],
            [0, 20, 2, 2, 8, 9, 10, 11, 2],
        ]

    def test_offsets_leave_out_white_space_and_the_question(self):
        [rows] = span_format().encode([example("a bc")])
        assert rows[0].offsets.tolist() == [[-1, -1]] * 4 + [[0, 1], [2, 3], [3, 4], [-1, -1]]

    def test_a_piece_belongs_to_the_window_that_shows_most_around_it(self):
        [rows] = span_format().encode([example(CONTEXT)])
        owned = [row.offsets[row.best][:, 0] // 2 for row in rows]
        assert [o.tolist() for o in owned] == [[0, 1, 2, 3], [4, 5], [6, 7]]

    def test_a_long_question_is_cut(self):
        [rows] = span_format(16).encode([example("a", question="q r s t")])
        assert rows[0].input_ids.tolist() == [0, 20, 21, 22, 2, 2, 4, 2]

    def test_a_stride_wider_than_the_window_leaves_no_gap(self):
        [rows] = span_format(doc_stride=100).encode([example(CONTEXT)])
        assert [row.offsets[4:-1, 0].tolist() for row in rows] == [[0, 2, 4, 6, 8], [10, 12, 14]]

    def test_no_room_for_a_context_is_an_error(self):
        with pytest.raises(InvalidValue, match="no room") as caught:
            span_format(max_length=6, max_question_length=3).encode([example("a", question="q r")])
        assert (caught.value.limit, caught.value.given) == (7, 6)

    @pytest.mark.parametrize("context", ["", "  \n"])
    def test_an_empty_context_is_refused_alone(self, context):
        encoded = span_format().encode([example("a"), example(context), example("b")])
        assert isinstance(encoded[1], Rejected) and encoded[1].error.param == "context"
        assert [rows[0].input_ids[4] for rows in (encoded[0], encoded[2])] == [4, 5]

    def test_questions_about_one_context_get_their_own_rows(self):
        first, second = span_format().encode([example("a b", question="q"), example("a b", question="r")])
        assert [rows[0].input_ids.tolist() for rows in (first, second)] == [
            [0, 20, 2, 2, 4, 5, 2],
            [0, 21, 2, 2, 4, 5, 2],
        ]


class TestTargets:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (("e", 8), [[8, 8], [6, 6], [4, 4]]),
            (("e f", 8), [[0, 0], [6, 7], [4, 5]]),
            (("a b", 0), [[4, 5], [0, 0], [0, 0]]),
            (("b c d e f", 2), [[0, 0], [0, 0], [0, 0]]),
        ],
    )
    def test_windows_without_the_whole_answer_point_at_the_start(self, answer, expected):
        item = example(CONTEXT, answer)
        format_ = span_format()
        [rows] = format_.encode([item])
        assert [t.tolist() for t in format_.targets(item, rows)] == expected

    def test_no_answer(self):
        format_ = span_format()
        [rows] = format_.encode([example(CONTEXT)])
        assert [t.tolist() for t in format_.targets(example(CONTEXT), rows)] == [[0, 0]] * 3

    @pytest.mark.parametrize("answer", [("b", 1), ("bc", 1), ("abcd", 0)])
    def test_part_of_a_word(self, answer):
        format_ = span_format(max_answer_length=4)
        item = example("abcd", answer)
        [rows] = format_.encode([item])
        [target] = format_.targets(item, rows)
        assert format_.decode(item, rows, one_hot(rows, [target])).text == answer[0]

    def test_white_space_around_an_answer_is_not_missed(self):
        item = example("a b c", (" b ", 1))
        format_ = span_format()
        [rows] = format_.encode([item])
        assert [t.tolist() for t in format_.targets(item, rows)] == [[5, 5]]


class TestDecode:
    def decode(self, item, starts, ends, **changed):
        """One window; scores by row position."""
        format_ = span_format(16, **changed)
        [rows] = format_.encode([item])
        start, end = np.full((2, len(rows[0])), -10, dtype=np.float32)
        for place, score in starts.items():
            start[place] = score
        for place, score in ends.items():
            end[place] = score
        return format_.decode(item, rows, [{"start": start, "end": end}])

    def test_the_best_legal_span(self):
        prediction = self.decode(example(CONTEXT), {6: 5, 0: 1}, {7: 4, 0: 2})
        assert (prediction.text, prediction.start, prediction.end) == ("c d", 4, 7)
        assert (prediction.score, prediction.null_score) == (9, 3)

    def test_an_end_before_its_start_does_not_count(self):
        assert self.decode(example(CONTEXT), {7: 9, 5: 8}, {6: 9}).text == "b c"

    def test_a_span_over_the_answer_limit_does_not_count(self):
        assert self.decode(example(CONTEXT), {4: 9, 5: 8}, {7: 9}).text == "b c d"

    def test_only_the_n_best_are_looked_at(self):
        scores = {"starts": {7: 9, 5: 8}, "ends": {6: 9}}
        assert self.decode(example(CONTEXT), **scores, n_best=1).text == ""

    def test_special_tokens_and_the_question_are_no_answer(self):
        prediction = self.decode(example(CONTEXT), {0: 99, 1: 99, 5: 1}, {0: 99, 3: 99, 5: 1})
        assert (prediction.text, prediction.null_score) == ("b", 198)

    def test_the_best_window_wins_and_the_lowest_null_counts(self):
        format_ = span_format()
        item = example(CONTEXT)
        [rows] = format_.encode([item])
        outputs = one_hot(rows, [(4, 4), (6, 7), (7, 7)], value=3)
        outputs[1] = one_hot([rows[1]], [(6, 7)], value=5)[0]
        outputs[0]["start"][0] = outputs[1]["start"][0] = 2
        outputs[2]["end"][0] = 1
        prediction = format_.decode(item, rows, outputs)
        assert (prediction.text, prediction.score, prediction.null_score) == ("e f", 10, 1)

    def test_a_window_answers_only_for_pieces_it_owns(self):
        format_ = span_format()
        item = example(CONTEXT)
        [rows] = format_.encode([item])
        outputs = one_hot(rows, [(8, 8), (0, 0), (0, 0)])
        assert format_.decode(item, rows, outputs).text != "e"  # 'e' is the second window's


#: (word, text that must not follow it without a space): whole characters as people see them.
WORDS = st.sampled_from(
    ["cat", "sleeps", "The", "don't", "Katze", "schläft", "schla\u0308ft", "draußen", "Кошка", "ё", "и\u0306",
     "猫", "旧桌子", "今天外面", "ラーメン", "か\u3099", "แมว", "นอน", "น้ำ", "ที่", "बिल्ली", "मेज़", "क\u093c", "क्योंकि",
     "القطة", "مُحَمَّد", "ﷺ", "Kedi", "İstanbul", "ışık", "한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "ক\u09c7\u09be",
     "👩‍🚀", "❤️", "🇩🇪", "𝒳", "ﬁx", "½", "Ａ１", "1,000", "e\u0301\u0323"]
)  # fmt: skip
SPACES = st.sampled_from([" ", " ", "", "", "  ", "\n", "\u00a0", "\u3000", ", "])


@st.composite
def documents(draw, longest=25):
    """A context made of whole words and the range of one to four of them."""
    words = draw(st.lists(st.tuples(WORDS, SPACES), min_size=1, max_size=longest))
    first = draw(st.integers(0, len(words) - 1))
    last = draw(st.integers(first, min(first + 3, len(words) - 1)))
    starts = np.cumsum([0, *(len(word) + len(space) for word, space in words)])
    context = "".join(word + space for word, space in words)
    return context, int(starts[first]), int(starts[last] + len(words[last][0]))


@given(documents())
def test_labelled_pieces_cover_the_answer_and_no_piece_more(document):
    context, start, end = document
    format_ = tiny_format("span", max_length=512, max_answer_length=200)
    item = example(context, (context[start:end], start))
    [[features]] = format_.encode([item])
    [(first, last)] = format_.targets(item, [features])
    assert 0 < first <= last
    offsets = features.offsets
    touching = (offsets[:, 0] < end) & (offsets[:, 1] > start) & (offsets[:, 1] > offsets[:, 0])
    assert np.flatnonzero(touching)[[0, -1]].tolist() == [first, last]
    covered = {i for a, b in offsets[first : last + 1] for i in range(a, b)}
    assert {i for i in range(start, end) if not context[i].isspace()} <= covered


@given(documents())
def test_the_answer_comes_back_exactly_where_pieces_end_with_it(document):
    context, start, end = document
    format_ = tiny_format("span", max_length=512, max_answer_length=200)
    item = example(context, (context[start:end], start))
    [rows] = format_.encode([item])
    found = format_.decode(item, rows, one_hot(rows, format_.targets(item, rows)))
    assert found.start <= start and found.end >= end
    offsets = rows[0].offsets.tolist()
    # The pieces that show the first and the last character, and no more.
    assert found.start == min(a for a, b in offsets if a <= start < b)
    assert found.end == max(b for a, b in offsets if a < end <= b)
    assert found.text == context[found.start : found.end]


@given(documents(longest=60), st.integers(20, 60), st.integers(1, 50))
def test_every_piece_is_in_a_window_and_one_window_owns_it(document, max_length, stride):
    context, _, _ = document
    whole = tiny_format("span", max_length=2000)
    windowed = tiny_format("span", max_length=max_length, doc_stride=stride)
    [[everything]] = whole.encode([example(context)])
    [rows] = windowed.encode([example(context)])
    assert max(len(row) for row in rows) <= max_length
    before = int(np.flatnonzero(everything.offsets[:, 0] >= 0)[0])
    pieces = everything.input_ids[before:-1].tolist()
    room = max_length - before - 1
    step = min(stride, room)
    seen, owners = np.zeros((2, len(pieces)), dtype=int)
    for number, row in enumerate(rows):
        place = slice(number * step, number * step + len(row) - before - 1)
        assert row.input_ids[before:-1].tolist() == pieces[place]
        seen[place] += 1
        owners[place] += row.best[before:-1]
        assert not row.best[:before].any() and not row.best[-1]
    assert seen.min() >= 1
    assert owners.tolist() == [1] * len(pieces)


@given(documents(longest=60), st.integers(44, 60))
def test_an_answer_comes_back_from_any_window(document, max_length):
    """An answer of up to half the overlap is whole in the window that owns its start."""
    context, start, end = document
    windowed = tiny_format("span", max_length=max_length, doc_stride=8, max_answer_length=200)
    whole = tiny_format("span", max_length=2000, max_answer_length=200)
    item = example(context, (context[start:end], start))
    [rows] = whole.encode([item])
    [(first, last)] = whole.targets(item, rows)
    assume(last - first < (max_length - 12 - 4 - 8) // 2)
    expected = whole.decode(item, rows, one_hot(rows, [(first, last)]))
    [rows] = windowed.encode([item])
    found = windowed.decode(item, rows, one_hot(rows, windowed.targets(item, rows)))
    assert found.text == expected.text


@settings(max_examples=200)
@given(st.text(max_size=80), st.integers(20, 60))
def test_any_text_gives_rows_within_bounds(context, max_length):
    format_ = tiny_format("span", max_length=max_length)
    [rows] = format_.encode([example(context)])
    if isinstance(rows, Rejected):
        assert not context.strip()
        return
    for row in rows:
        inside = row.offsets[row.offsets[:, 0] >= 0]
        assert ((inside >= 0) & (inside <= len(context))).all()
        assert (inside[:, 0] <= inside[:, 1]).all()
    scores = np.random.default_rng(0)
    outputs = [{"start": scores.normal(size=len(r)), "end": scores.normal(size=len(r))} for r in rows]
    found = format_.decode(example(context), rows, outputs)
    assert found.text == context[found.start : found.end]
