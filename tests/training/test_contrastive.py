"""Dual encoders: which rows are each other's negatives, the loss, what is saved, and that it learns."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import AutoModel

from polystilts.errors import InvalidValue
from polystilts.evaluation import score_rows, settings_for
from polystilts.formats import Pieces, make_format
from polystilts.formats.batching import collate
from polystilts.formats.values import SentencePair
from polystilts.runtime.predictor import Predictor
from polystilts.tasks import get_task
from polystilts.training.checkpoint import open_checkpoint, write_checkpoint
from polystilts.training.loop import train
from polystilts.training.model import TorchBackend, bare_encoder, build_for, contrastive_loss, forward_rows
from polystilts.training.objective import Mixture, TaskRows, training_rows
from tests.training.test_loop import settings as loop_settings
from tests.world.encoder import HIDDEN, TEXTS, tiny_encoder, tiny_tokenizer

#: A few words in one place and the whole sentence in the other; lengths differ.
PAIRS = [SentencePair(f"c{i}", "en", text[: len(text) // 2], text) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "plain", dropout=0.0)


def settings_of(name):
    return dataclasses.replace(settings_for(get_task(name), max_length=40), max_question_length=24)


def format_of(name):
    return make_format(Pieces(tiny_tokenizer()), settings_of(name))


def task(pairs=PAIRS, *, name="codesearch", batch_size=8, micro=0, epochs=1.0):
    return TaskRows(name, settings_of(name), training_rows(format_of(name), pairs), epochs, batch_size, micro)


def mixture(rows, **options):
    return Mixture([rows], pad=1, seed=3, max_tokens=8, **options)


class TestMicroBatches:
    @pytest.mark.parametrize(
        ("rows", "batch_size", "micro", "sizes"),
        [
            (16, 8, 0, [[8], [8]]),
            (16, 8, 4, [[4, 4], [4, 4]]),
            (11, 8, 4, [[4, 4], [3]]),
            (9, 8, 4, [[4, 5]]),  # one row left over by the epoch, then by its update
            (13, 8, 4, [[4, 4], [5]]),
            (9, 3, 2, [[3], [3], [3]]),
            (2, 8, 4, [[2]]),
            (3, 8, 2, [[3]]),
        ],
    )
    def test_they_have_a_fixed_number_of_rows_whatever_the_tokens(self, rows, batch_size, micro, sizes):
        objective = mixture(task(PAIRS[:rows], batch_size=batch_size, micro=micro))
        found, seen = [], []
        for step in range(objective.total_updates):
            part, numbers = objective.rows_of(step)
            seen += numbers
            batches = objective._micro_batches(part, [part.rows[n] for n in numbers])
            assert [row for batch in batches for row in batch] == [part.rows[n] for n in numbers]  # as drawn
            found.append([len(batch) for batch in batches])
        assert found == sizes
        assert sorted(seen) == list(range(rows))

    @pytest.mark.parametrize(("rows", "batch_size", "micro"), [(1, 8, 4), (8, 1, 4), (8, 8, 1)])
    def test_a_task_without_negatives_is_refused(self, rows, batch_size, micro):
        with pytest.raises(InvalidValue, match="takes its negatives from the other rows") as caught:
            mixture(task(PAIRS[:rows], batch_size=batch_size, micro=micro))
        assert (caught.value.limit, caught.value.given) == (2, 1)

    def test_a_mean_is_not_trained(self):
        rows = task()
        with pytest.raises(InvalidValue, match="only pooling 'pooler' is trained"):
            mixture(dataclasses.replace(rows, settings=dataclasses.replace(rows.settings, pooling="mean")))


class TestLoss:
    def test_it_is_the_cross_entropy_of_scaled_cosines(self):
        vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [1, 0], [0.8, 0.6], [0, 1]])  # query, candidate, query, …
        cosines = vectors[::2] @ vectors[1::2].T
        logits = 5.0 * cosines
        expected = (np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)).sum()
        targets = [np.array(i % 2 == 0, dtype=np.int64) for i in range(6)]
        found = contrastive_loss(torch.tensor(vectors)[:, None], torch.tensor(5.0), targets)
        assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_bf16_does_not_reach_the_logits(self):
        generator = torch.Generator().manual_seed(0)
        vectors = torch.nn.functional.normalize(torch.randn(16, 1, HIDDEN, generator=generator), dim=-1)
        targets = [np.array(i % 2 == 0, dtype=np.int64) for i in range(16)]
        exact = contrastive_loss(vectors, torch.tensor(100.0), targets)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(contrastive_loss(vectors, torch.tensor(100.0), targets), exact)

    def test_an_update_divides_by_its_rows(self, encoder):
        objective = mixture(task(batch_size=8, micro=4))
        part, numbers = objective.rows_of(0)
        model = build_for(part.settings, encoder, seed=1)
        losses = [batch(model) for batch in objective.update(0)]
        expected = 0.0
        for four in (numbers[:4], numbers[4:]):
            rows = [f for n in four for f in part.rows[n].features]
            arrays = {k: torch.from_numpy(v) for k, v in collate(rows, 1).items()}
            vectors = forward_rows(model, part.settings, arrays["input_ids"], arrays["attention_mask"])["embeddings"]
            logits = model.scale * vectors[::2, 0] @ vectors[1::2, 0].T
            expected += torch.nn.functional.cross_entropy(logits, torch.arange(4), reduction="sum").item()
        assert sum(losses).item() == pytest.approx(expected / 8, rel=1e-4)

    def test_the_scale_is_trained_and_never_decayed(self, encoder, tmp_path):
        rows = task(epochs=2)
        model = build_for(rows.settings, encoder, seed=1)
        assert float(model.scale) == 100.0
        train(model, mixture(rows), loop_settings(learning_rate=1e-3, weight_decay=0.9), state_folder=tmp_path)
        assert 0 < abs(float(model.scale) - 100.0) < 0.1


class TestCheckpoint:
    def test_what_is_written_is_read(self, encoder, tmp_path):
        settings = settings_of("squad_sentences")
        model = build_for(settings, encoder, seed=1)
        with torch.no_grad():
            model.scale.fill_(42.0)
        place = tmp_path / "dual"
        write_checkpoint(place, model, tokenizer_from=encoder, key="k", lineage={"phase": "target"}, settings=settings)
        checkpoint = open_checkpoint(place)
        assert checkpoint.settings == settings
        again = build_for(settings, place, seed=9)
        for (name, first), (other, second) in zip(model.named_parameters(), again.named_parameters(), strict=True):
            assert name == other and torch.equal(first, second)
        opened = AutoModel.from_pretrained(place)
        assert torch.equal(opened.pooler.dense.weight, model.roberta.pooler.dense.weight)
        assert bare_encoder(again).pooler is None

    def test_vectors_have_length_1(self, encoder):
        settings = settings_of("codesearch")
        predictor = Predictor(format_of("codesearch"), TorchBackend(build_for(settings, encoder), settings))
        [row] = predictor.run([format_of("codesearch").encode(PAIRS)[0][0]])
        assert row["embeddings"].shape == (1, HIDDEN)
        assert np.linalg.norm(row["embeddings"]) == pytest.approx(1, abs=1e-6)

    def test_a_head_of_another_size_is_drawn_anew(self, encoder, tmp_path):
        """Choice after tagging: both call their head `classifier`, of different shapes."""
        tagging = dataclasses.replace(settings_for(get_task("udpos")), max_length=40)
        write_checkpoint(
            tmp_path / "tags",
            build_for(tagging, encoder),
            tokenizer_from=encoder,
            key="k",
            lineage={},
            settings=tagging,
        )
        choice = build_for(settings_for(get_task("copa")), tmp_path / "tags", seed=1)
        assert choice.classifier.weight.shape == (1, HIDDEN)


@pytest.mark.parametrize("name", ["codesearch", "squad_sentences", "mewslix_pairs"])
def test_it_learns_its_pairs_by_heart(encoder, tmp_path, name):
    rows = task(name=name, batch_size=16, micro=get_task(name).micro_batch_rows, epochs=15)
    model = build_for(rows.settings, encoder, seed=1)
    predictor = Predictor(format_of(name), TorchBackend(model, rows.settings))
    before = score_rows(predictor, get_task(name), PAIRS, "en")
    with torch.no_grad():
        model.scale.fill_(20.0)  # 100 is for an encoder whose cosines lie near each other
    train(model, mixture(rows), loop_settings(learning_rate=5e-3), state_folder=tmp_path)
    assert score_rows(predictor, get_task(name), PAIRS, "en") > max(80, before)
