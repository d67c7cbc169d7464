"""Masked-language modelling on documents of several languages, as an objective of the loop.

BERT's rule with RoBERTa's dynamic masks: 15 % of the pieces are to be predicted, of which 80 % become `<mask>`, 10 %
another piece and 10 % stay; masks are drawn anew whenever a row is seen (Devlin et al., 2019; Liu et al., 2019).
Languages are drawn with probability proportional to size ** 0.3 (Conneau et al., 2020, arXiv:1911.02116).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from polystilts.errors import InvalidValue
from polystilts.formats.batching import MICRO_BATCH_OVERHEAD, pack
from polystilts.formats.tagging import IGNORED
from polystilts.formats.tokenizer import SINGLE_EXTRA, Pieces

MASK = "<mask>"

#: Name of the model with the LM head among the models of a mixture.
MLM = "mlm"


@dataclass(frozen=True)
class MaskingSettings:
    """How text is masked and drawn.

    Attributes:
        mask_rate: share of a row's pieces to predict, special tokens apart.
        exponent: a language is drawn with probability proportional to its pieces to this power; 1 = as they are, 0 =
            all alike.
        batch_size: rows of an update.
        epochs: an epoch is as many rows as there are in all languages.
        max_length: of a row; a longer document becomes several rows.
    """

    mask_rate: float = 0.15
    exponent: float = 0.3
    batch_size: int = 8
    epochs: float = 2
    max_length: int = 256


def mask_id_of(folder: Path) -> int:
    """The id of `<mask>` in a checkpoint folder's tokenizer.

    Raises:
        InvalidValue: it has none, or pieces behind it: which ids may replace a piece is then unknown.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = tokenizer.token_to_id(MASK)
    if found is None or found != tokenizer.get_vocab_size(with_added_tokens=True) - 1:
        raise InvalidValue(f"the tokenizer in {folder} must have {MASK!r} as its last piece", param="tokenizer.json")
    return int(found)


def mask_pieces(
    rng: np.random.Generator, ids: np.ndarray, *, rate: float, first: int, mask_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """What the model sees and what it is to predict (IGNORED elsewhere), int64 of the shape of `ids`.

    Args:
        ids: pieces; those below `first` are special tokens and stay.
        mask_id: of `<mask>`, behind the last piece.
    """
    chosen = (ids >= first) & (rng.random(ids.shape) < rate)
    fate = rng.random(ids.shape)
    labels = np.where(chosen, ids, IGNORED)
    noise = rng.integers(first, mask_id, ids.shape)
    return np.where(chosen & (fate < 0.8), mask_id, np.where(chosen & (fate >= 0.9), noise, ids)), labels


def masked_loss(ids: Tensor, attention: Tensor, labels: Tensor, total: int, model: Any) -> Tensor:
    """Cross-entropy, summed and divided by `total`; only the masked positions pass through the LM head.

    Args:
        ids, attention, labels: int64 [rows, pieces].
        model: an `XLMRobertaForMaskedLM`.
    """
    hidden = model.roberta(input_ids=ids, attention_mask=attention).last_hidden_state
    at = labels != IGNORED
    return F.cross_entropy(model.lm_head(hidden[at]).float(), labels[at], reduction="sum") / total


def text_rows(pieces: Pieces, documents: Sequence[str], max_length: int) -> list[np.ndarray]:
    """Documents as rows of at most `max_length` pieces, special tokens included; one too long becomes several."""
    room = max_length - SINGLE_EXTRA
    encoded = (encoding.ids for encoding in pieces.encode(documents))
    return [pieces.single(ids[start : start + room]) for ids in encoded for start in range(0, len(ids), room)]


def language_shares(sizes: Mapping[str, float], exponent: float) -> dict[str, float]:
    """Probability of each language: its size to the power of `exponent`, divided by the sum."""
    powers = {language: size**exponent for language, size in sizes.items()}
    whole = sum(powers.values())
    return {language: power / whole for language, power in powers.items()}


class MaskedText:
    """The loop's objective on text: every row's language is drawn, and its next row taken.

    The rows of a language are read in a new order every time they are through, so that a language that is drawn often
    is read often. `update(step)` is a function of (seed, step).

    Args:
        rows: encoded rows of each language.
        settings: of masking and drawing.
        pad: id of padding.
        mask_id: of `<mask>`.
        first: id of the first piece that is no special token.
        seed: names one course of training.
        updates: 0 = as many as the epochs have.
        max_tokens, overhead: of a micro-batch, see `pack`.
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[np.ndarray]],
        settings: MaskingSettings,
        *,
        pad: int,
        mask_id: int,
        seed: int,
        max_tokens: int,
        updates: int = 0,
        first: int = 4,
        overhead: int = MICRO_BATCH_OVERHEAD,
    ) -> None:
        for language, own in rows.items():
            if not len(own):
                raise InvalidValue(f"no text in {language!r}", param="mlm.languages", limit=1, given=0)
        if not rows:
            raise InvalidValue("text in no language", param="mlm.languages", limit=1, given=0)
        self.rows, self.settings, self.seed = dict(rows), settings, seed
        self.pad, self.mask_id, self.first = pad, mask_id, first
        self.max_tokens, self.overhead = max_tokens, overhead
        count = sum(map(len, rows.values()))
        self.total_updates = updates or max(1, round(settings.epochs * -(-count // settings.batch_size)))
        self.shares = language_shares({lang: sum(map(len, own)) for lang, own in rows.items()}, settings.exponent)
        shape = (self.total_updates, settings.batch_size)
        drawn = np.random.default_rng([seed, 0]).choice(len(rows), size=shape, p=list(self.shares.values()))
        self._language_of = drawn.astype(np.int16)
        self._turn_of = np.zeros(shape, dtype=np.int64)
        for number in range(len(rows)):
            mine = self._language_of == number
            self._turn_of[mine] = np.arange(mine.sum())
        self._order = lru_cache(maxsize=2 * len(rows))(self._permutation)

    def name(self, step: int) -> str:
        return MLM

    def rows_of(self, step: int) -> list[tuple[str, int]]:
        """Language and number of each row of an update."""
        languages, found = list(self.rows), []
        for number, turn in zip(self._language_of[step].tolist(), self._turn_of[step].tolist(), strict=True):
            language = languages[number]
            epoch, place = divmod(turn, len(self.rows[language]))
            found.append((language, int(self._order(number, epoch)[place])))
        return found

    def update(self, step: int) -> Iterator[Any]:
        rng = np.random.default_rng([self.seed, 1, step])
        rows = [self.rows[language][number] for language, number in self.rows_of(step)]
        groups = pack([len(row) for row in rows], self.max_tokens, overhead=self.overhead)
        masked = [self._masked(rng, [rows[i] for i in group]) for group in groups]
        total = max(1, sum(int((labels != IGNORED).sum()) for *_, labels in masked))
        for arrays in masked:
            yield lambda module, arrays=arrays: self._loss(module, arrays, total)

    def _permutation(self, number: int, epoch: int) -> np.ndarray:
        language = list(self.rows)[number]
        return np.random.default_rng([self.seed, 2, number, epoch]).permutation(len(self.rows[language]))

    def _masked(self, rng: np.random.Generator, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        ids = np.full((len(rows), max(map(len, rows))), self.pad, dtype=np.int64)
        attention = np.zeros_like(ids)
        for line, row in enumerate(rows):
            ids[line, : len(row)], attention[line, : len(row)] = row, 1
        seen, labels = mask_pieces(rng, ids, rate=self.settings.mask_rate, first=self.first, mask_id=self.mask_id)
        return seen, attention, labels

    def _loss(self, module: Any, arrays: tuple[np.ndarray, ...], total: int) -> Tensor:
        model = module[MLM]
        ids, attention, labels = (torch.from_numpy(array).to(model.device) for array in arrays)
        return masked_loss(ids, attention, labels, total, model)
