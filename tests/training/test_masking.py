"""Masked-language modelling: what is hidden, from which language, and that it trains and resumes."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from polystilts.errors import InvalidValue
from polystilts.formats import Pieces
from polystilts.formats.tagging import IGNORED
from polystilts.training.loop import TrainingSettings, train
from polystilts.training.masking import (
    MLM,
    MaskedText,
    MaskingSettings,
    language_shares,
    mask_id_of,
    mask_pieces,
    text_rows,
)
from polystilts.training.model import build_model, has_lm_head, share_encoder
from polystilts.training.objective import Interleaved
from tests.training.test_resume import Interrupt, StopAt
from tests.training.worker import SETTINGS_OF_LOOP, mixture, model_of, same, weights
from tests.world.encoder import TEXTS, letter_tokenizer, tiny_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "plain", dropout=0.1)


def objective(encoder, *, updates=0, sizes=(40, 10), **changed):
    """English and German rows."""
    pieces = Pieces.open(encoder)
    documents = {"en": TEXTS[:2], "de": TEXTS[2:4]}
    rows = {
        lang: text_rows(pieces, (own * 40)[:n], 64) for (lang, own), n in zip(documents.items(), sizes, strict=True)
    }
    settings = MaskingSettings(**({"batch_size": 4, "epochs": 2} | changed))
    return MaskedText(rows, settings, pad=1, mask_id=mask_id_of(encoder), seed=3, max_tokens=200, updates=updates)


class TestMasks:
    ids = np.random.default_rng(0).integers(4, 99, (200, 100))

    def masked(self, **changed):
        settings = {"rate": 0.15, "first": 4, "mask_id": 99} | changed
        return mask_pieces(np.random.default_rng(1), self.ids, **settings)

    def test_15_percent_of_which_80_10_10(self):
        seen, labels = self.masked()
        chosen = labels != IGNORED
        assert chosen.mean() == pytest.approx(0.15, abs=0.01)
        assert (labels[chosen] == self.ids[chosen]).all()
        assert (seen[~chosen] == self.ids[~chosen]).all()
        assert (seen[chosen] == 99).mean() == pytest.approx(0.8, abs=0.03)
        # A piece drawn by chance is now and then the one that was there.
        assert (seen[chosen] == self.ids[chosen]).mean() == pytest.approx(0.1 + 0.1 / 95, abs=0.02)

    def test_special_tokens_stay(self):
        self_ids = self.ids.copy()
        self_ids[:, 0] = 0
        seen, labels = mask_pieces(np.random.default_rng(1), self_ids, rate=0.9, first=4, mask_id=99)
        assert (seen[:, 0] == 0).all() and (labels[:, 0] == IGNORED).all()
        assert seen.min() == 0 and (seen[:, 1:] >= 4).all()

    def test_masks_are_drawn_anew_when_a_row_comes_back(self, encoder):
        text = objective(encoder, sizes=(1, 1), epochs=40)
        where = {tuple(arrays[2].ravel()) for step in range(10) for arrays in self.arrays(text, step)}
        assert len(where) > 5

    @staticmethod
    def arrays(text, step):
        seen = []
        text._loss = lambda module, arrays, total: seen.append(arrays)
        for part in text.update(step):
            part(None)
        del text._loss
        return seen

    def test_an_update_depends_on_its_number_alone(self, encoder):
        one, two = objective(encoder), objective(encoder)
        later = self.arrays(one, 5)
        assert all(
            np.array_equal(a, b)
            for x, y in zip(later, self.arrays(two, 5), strict=True)
            for a, b in zip(x, y, strict=True)
        )

    def test_a_tokenizer_without_a_mask_is_refused(self, tmp_path):
        letter_tokenizer().save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(InvalidValue, match="must have '<mask>' as its last piece"):
            mask_id_of(tmp_path)


class TestLanguages:
    @pytest.mark.parametrize(
        ("exponent", "expected"),
        [(1.0, [0.9, 0.1]), (0.0, [0.5, 0.5]), (0.3, [9**0.3 / (9**0.3 + 1), 1 / (9**0.3 + 1)])],
    )
    def test_shares_by_exponent(self, exponent, expected):
        assert list(language_shares({"en": 900, "sw": 100}, exponent).values()) == pytest.approx(expected)

    @pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
    def test_rows_are_drawn_by_share(self, encoder, exponent):
        text = objective(encoder, updates=1000, exponent=exponent)
        drawn = Counter(language for step in range(1000) for language, _ in text.rows_of(step))
        share = text.shares["en"]
        assert abs(drawn["en"] / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5

    def test_a_language_is_read_through_before_it_is_read_again(self, encoder):
        text = objective(encoder, updates=100)
        for language, size in (("en", 40), ("de", 10)):
            read = [number for step in range(100) for lang, number in text.rows_of(step) if lang == language]
            assert sorted(read[:size]) == list(range(size)) == sorted(read[size : 2 * size])
            assert read[:size] != read[size : 2 * size]

    def test_epochs_count_the_rows_of_all_languages(self, encoder):
        assert objective(encoder).total_updates == 2 * 13
        assert objective(encoder, epochs=0.5).total_updates == 6

    def test_no_text(self, encoder):
        with pytest.raises(InvalidValue, match="no text in 'en'"):
            objective(encoder, sizes=(0, 3))

    def test_a_long_document_is_several_rows(self, encoder):
        pieces = Pieces.open(encoder)
        [encoding] = pieces.encode([" ".join(TEXTS)])
        rows = text_rows(pieces, [" ".join(TEXTS)], 32)
        assert [piece for row in rows for piece in row[1:-1]] == encoding.ids
        assert {len(row) for row in rows[:-1]} == {32}
        assert all((row[0], row[-1]) == (pieces.bos, pieces.eos) for row in rows)


def module_of(encoder, *, task=True):
    models = {MLM: build_model("mlm", encoder, seed=1)}
    if task:
        models["pair"] = model_of("pair", encoder)
    share_encoder(list(models.values()))
    return nn.ModuleDict(models)


def run(encoder, state, *, task=True, recorder=None, **changed):
    module = module_of(encoder, task=task)
    text = objective(encoder, updates=6)
    whole = Interleaved(mixture(["pair", "tagging"][:1]), text, seed=0) if task else text
    train(module, whole, TrainingSettings(**(SETTINGS_OF_LOOP | changed)), state_folder=state, recorder=recorder)
    return module


class TestTraining:
    def test_it_learns_its_text_by_heart(self, encoder, tmp_path):
        losses = []

        class Log(StopAt):
            def __init__(self):
                super().__init__(-1)

            def log(self, metrics, step):
                losses.append(metrics["loss/mlm"])

        module = module_of(encoder, task=False)
        settings = TrainingSettings(**(SETTINGS_OF_LOOP | {"save_seconds": 99}))
        train(module, objective(encoder, updates=40), settings, state_folder=tmp_path, recorder=Log())
        assert sum(losses[-5:]) < 0.75 * sum(losses[:5])

    @pytest.mark.parametrize("task", [True, False])
    def test_stopped_and_continued_is_bit_identical(self, encoder, tmp_path, task):
        whole = run(encoder, tmp_path / "whole", task=task)
        for stop in (2, 5):
            with pytest.raises(Interrupt):
                run(encoder, tmp_path / "parts", task=task, recorder=StopAt(stop))
        assert same(weights(whole), weights(run(encoder, tmp_path / "parts", task=task)))

    def test_text_moves_the_encoder_and_leaves_the_heads_of_tasks(self, encoder, tmp_path):
        module = module_of(encoder)
        before = weights(module)
        settings = TrainingSettings(**SETTINGS_OF_LOOP)
        train(module, objective(encoder, updates=2), settings, state_folder=tmp_path)
        moved = {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}
        assert any("encoder.layer.0" in name for name in moved) and any("lm_head" in name for name in moved)
        assert not [name for name in moved if name.startswith("pair.classifier")]

    def test_a_tied_head_is_the_embeddings_that_all_share(self, encoder):
        module = module_of(encoder)
        decoder = module[MLM].lm_head.decoder.weight
        assert decoder is module["pair"].roberta.embeddings.word_embeddings.weight


class TestHead:
    def test_it_travels_in_the_folder(self, encoder, tmp_path):
        assert not has_lm_head(encoder)
        model = build_model("mlm", encoder, seed=1)
        with torch.no_grad():
            model.lm_head.bias.fill_(0.25)
        model.save_pretrained(tmp_path)
        assert has_lm_head(tmp_path)
        assert (build_model("mlm", tmp_path, seed=2).lm_head.bias == 0.25).all()

    def test_an_untied_head_that_is_not_there_starts_as_the_embeddings(self, encoder, tmp_path):
        import json
        import shutil

        shutil.copytree(encoder, tmp_path / "untied")
        config = json.loads((tmp_path / "untied/config.json").read_text()) | {"tie_word_embeddings": False}
        (tmp_path / "untied/config.json").write_text(json.dumps(config))
        model = build_model("mlm", tmp_path / "untied", seed=1)
        decoder, words = model.lm_head.decoder.weight, model.roberta.embeddings.word_embeddings.weight
        assert decoder is not words and torch.equal(decoder, words)
