"""Text to pieces, on the `tokenizers` package alone.

Rows are cut and special tokens added by hand: tokenizers' own strided truncation can panic (0.23), and the
one place that knows XLM-R's doubled separator is `Pieces.single` and `Pieces.pair`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from polystilts.errors import InvalidValue, MissingData

SPECIALS = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>"}


class Pieces:
    """A tokenizer with XLM-R's special tokens: `<s> a </s>` and `<s> a </s></s> b </s>`."""

    def __init__(self, tokenizer: Tokenizer, digest: str = "") -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self.digest = digest
        ids = {}
        for field, token in SPECIALS.items():
            found = tokenizer.token_to_id(token)
            if found is None:
                raise InvalidValue(f"the tokenizer has no {token!r} token", param="tokenizer.json")
            ids[field] = found
        self.bos, self.pad, self.eos, self.unk = ids["bos"], ids["pad"], ids["eos"], ids["unk"]

    @classmethod
    def open(cls, folder: Path) -> Pieces:
        """The tokenizer of a checkpoint or bundle folder (`tokenizer.json`).

        Raises:
            MissingData: no such file.
            InvalidValue: it is not one that tokenizers can read.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise MissingData(f"no tokenizer.json in {folder}", param="tokenizer.json", given=str(folder))
        data = path.read_bytes()
        try:
            tokenizer = Tokenizer.from_buffer(data)
        except Exception as error:  # noqa: BLE001  tokenizers raises nothing narrower
            raise InvalidValue(f"{path} is no tokenizer: {error}", param="tokenizer.json", given=str(folder)) from None
        return cls(tokenizer, hashlib.sha256(data).hexdigest())

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Pieces of each text, without special tokens. `encode_batch` releases the GIL, `encode` does not."""
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[Encoding]:
        """Pieces of each sentence given as words, without special tokens."""
        return self._tokenizer.encode_batch(
            [list(words) for words in sentences], is_pretokenized=True, add_special_tokens=False
        )

    def single(self, ids: Sequence[int]) -> np.ndarray:
        return np.array([self.bos, *ids, self.eos], dtype=np.int64)

    def pair(self, first: Sequence[int], second: Sequence[int]) -> np.ndarray:
        # XLM-R was pretrained with two separators between the parts.
        return np.array([self.bos, *first, self.eos, self.eos, *second, self.eos], dtype=np.int64)


#: Special tokens that `single` and `pair` add.
SINGLE_EXTRA, PAIR_EXTRA = 2, 4


def cut_longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Lengths of two parts after removing pieces from the longer one until both fit into `room`."""
    if first + second <= room:
        return first, second
    shorter = min(first, second, room // 2)
    return (shorter, room - shorter) if first <= second else (room - shorter, shorter)
