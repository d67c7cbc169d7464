"""THE PRETRAINING RECIPE: a tokenizer of whole words, and a loss that makes a small encoder multilingual.

Masked language modelling alone, on text (MLM) and on pairs of translations (TLM; Conneau and Lample 2019,
arXiv:1901.07291), does not align eight languages in the few minutes that a small encoder has. Three terms
beside it do:

- agreement of words: the embeddings of forms that say the same are contrasted with others and drawn together;
- agreement of sentences: so are the mean-pooled hidden states of translations (InfoXLM, Chi et al. 2021,
  arXiv:2007.07834, without its queue);
- detection: which words of a second text do not fit the first? It teaches the comparison of two texts that
  most tasks need (XLM-E's translation replaced token detection, Chi et al. 2022, arXiv:2106.16138, with the
  grammar in place of a generator).
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional as F
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from polystilts.formats.tagging import IGNORED
from polystilts.training.masking import MASK, mask_pieces, masked_loss

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
BOS, PAD, EOS, UNK = range(4)
MARK = "▁"

Closure = Callable[[Any], Tensor]


class World(Protocol):
    """What pretraining needs of a source of text; `MicroWorld` is one."""

    def document(self, rng: np.random.Generator, language: str) -> tuple[str, str]: ...

    def translation(self, rng: np.random.Generator, first: str, second: str) -> tuple[str, str]: ...

    def sentence_pair(self, rng: np.random.Generator, first: str, second: str) -> tuple[str, str]: ...

    def altered(self, rng: np.random.Generator, first: str, second: str) -> tuple[str, str, str]: ...

    def glossary(self) -> list[dict[str, str]]: ...


@dataclass(frozen=True, slots=True)
class PretrainingSettings:
    """Every knob of the recipe.

    Attributes:
        updates: optimizer steps in all.
        documents: documents of one language in an update.
        translations: pairs of translations in an update that are masked together (TLM).
        mask_rate: share of tokens to predict; of these 80 % become <mask>, 10 % another token, 10 % stay, as
        in
            BERT. More than the usual 15 %, because the texts are easy.
        altered: pairs in an update whose second text may be altered.
        detection_weight: weight of the detection of altered words.
        sentence_pairs: pairs of translations in an update that are contrasted with each other.
        sentence_weight: weight of the agreement of sentences, the mean over all layers.
        word_pairs: glossary entries in an update, each in two languages.
        word_weight: weight of the agreement of words, in the embedding layer.
        temperature: what cosines are divided by in both contrasts.
        closeness: weight within an agreement of one minus the cosine, because a contrast asks only for order
            ("alignment", Wang and Isola 2020, arXiv:2005.10242).
        learning_rate: peak rate of AdamW; linear warm-up over `warmup` updates, then linear decay to zero at
            `updates`.
        betas: AdamW's averages.
        weight_decay: decoupled, not on biases and LayerNorm.
        clip: largest norm of an update's gradient.
    """

    updates: int = 1800
    documents: int = 12
    translations: int = 12
    altered: int = 16
    detection_weight: float = 2.0
    sentence_pairs: int = 16
    mask_rate: float = 0.25
    word_pairs: int = 128
    word_weight: float = 1.0
    closeness: float = 3.0
    sentence_weight: float = 0.3
    temperature: float = 0.1
    learning_rate: float = 2e-3
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0


def encoder_config(vocabulary: int, width: int = 128) -> XLMRobertaConfig:
    """The small encoder's shape: 3 layers of `width`, heads of 32, up to 128 tokens, an untied LM head."""
    return XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=3,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        max_position_embeddings=128 + PAD + 1,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=BOS,
        pad_token_id=PAD,
        eos_token_id=EOS,
        tie_word_embeddings=False,
    )


def new_encoder(vocabulary: int, seed: int, sharpness: float = 6.0, *, width: int = 128) -> XLMRobertaForMaskedLM:
    """The small encoder before its first update.

    In half of the heads keys start equal to queries, so that each token looks for its like from the start:
    comparing two texts is what takes a small encoder longest to find by itself (mimetic initialisation,
    Trockman and Kolter 2023, arXiv:2305.09828).

    Args:
        vocabulary: pieces of the tokenizer.
        seed: of the random weights.
        sharpness: the attention logit that such a head starts with for two equal hidden states.
        width: of hidden states, a multiple of 64.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = encoder_config(vocabulary, width)
        model = XLMRobertaForMaskedLM(config)
        size = config.hidden_size // config.num_attention_heads
        half = config.hidden_size // 2
        weights = dict(model.named_parameters())
        with torch.no_grad():
            weights["roberta.embeddings.position_embeddings.weight"].mul_(0.5)  # first of all, words count
            for layer in range(config.num_hidden_layers):
                attention = f"roberta.encoder.layer.{layer}.attention.self"
                query, key = weights[f"{attention}.query.weight"], weights[f"{attention}.key.weight"]
                query[:half].normal_(0.0, (sharpness / (size**0.5 * config.hidden_size)) ** 0.5)
                key[:half] = query[:half]
    return model


def train_tokenizer(words: Iterable[tuple[str, bool]]) -> Tokenizer:
    """A Unigram tokenizer (XLM-R's kind) of whole words, with single characters for whatever else comes.

    Pieces learned by BPE or by Unigram's own training split a quarter of the words in a vocabulary of this
    size, and split words did not align between languages.

    Args:
        words: each word, with whether a space comes before it.

    Returns:
        a tokenizer with XLM-R's specials at XLM-R's places (<s> <pad> </s> <unk> first, <mask> last).
        Punctuation is always a piece of its own. Every word starts with the mark, also when texts come as
        lists of words, except before Chinese characters, where words have no visible start.
    """
    whole = dict.fromkeys(MARK * spaced + unicodedata.normalize("NFC", word) for word, spaced in words)
    letters = dict.fromkeys(
        [
            MARK,
            *sorted({letter for piece in whole for letter in piece} | set(string.ascii_letters + string.digits)),
        ]
    )
    pieces = [(special, 0.0) for special in SPECIALS]
    pieces += [(piece, -8.0) for piece in whole]
    # Two letters cost more than any word, so that letters serve only where no words fit.
    pieces += [(letter, -20.0) for letter in letters if letter not in whole]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=UNK))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[.,;:!?¿¡。，；：！？·।]"), "isolated"),
            pre_tokenizers.Metaspace(replacement=MARK, prepend_scheme="always"),
            pre_tokenizers.Split(Regex(MARK + r"(?=\p{Han})"), "removed"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=MARK, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    tokenizer.add_special_tokens([*SPECIALS, AddedToken(MASK, lstrip=True, special=True)])
    return tokenizer


class PretrainingObjective:
    """The loss of each update, a pure function of the seed and the update's number.

    Nothing is carried from one update to the next, so training can stop at any update and go on with the same
    result.

    Args:
        world: source of documents, translations and word pairs.
        languages: the languages, English first.
        tokenizer: from `train_tokenizer`.
        settings: the recipe.
        seed: names one course of training.
        shares: of the texts and words by language, relative to each other (0 = none); None = all languages alike.
    """

    def __init__(
        self,
        world: World,
        languages: Sequence[str],
        tokenizer: Tokenizer,
        settings: PretrainingSettings,
        seed: int,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.world = world
        self.languages = tuple(languages)
        self.tokenizer = tokenizer
        self.settings = settings
        self.total_updates = settings.updates
        self.seed = seed
        self.mask_id = tokenizer.get_vocab_size() - 1
        self.shares = None if shares is None else np.array([shares[language] for language in self.languages])
        self.glossary = self._encode_glossary()

    def update(self, step: int) -> Iterator[Closure]:
        """The parts of update `step`; each maps an `XLMRobertaForMaskedLM` to its share of the loss.

        Call backward on each, then clip and step the optimizer once.
        """
        rng = np.random.default_rng([self.seed, step])
        settings = self.settings
        documents = [self.world.document(rng, self._any(rng)) for _ in range(settings.documents)]
        translations = [self.world.translation(rng, *self._two(rng)) for _ in range(settings.translations)]
        masked = [self._masked(rng, documents), self._masked(rng, translations)]
        total = sum(int((labels != IGNORED).sum()) for _, _, labels in masked)
        for ids, attention, labels in masked:
            yield partial(masked_loss, ids, attention, labels, total)
        yield self._detection(rng)
        pairs = [self.world.sentence_pair(rng, *self._two(rng)) for _ in range(settings.sentence_pairs)]
        left, right = (self._encode([(pair[side], "") for pair in pairs]) for side in (0, 1))
        words = self._word_pairs(rng)
        yield lambda model: self._contrast(model, left, right, words)

    def _detection(self, rng: np.random.Generator) -> Closure:
        """Which words of the second text contradict the first?"""
        triples = []
        for _ in range(self.settings.altered):
            first, second = self._two(rng)
            triples.append(self.world.altered(rng, second if rng.random() < 0.3 else first, second))
        ids, attention = self._encode([(text, told) for text, told, _ in triples])
        labels = torch.full_like(ids, IGNORED)
        for row, (text, told, true) in enumerate(triples):
            start = len(self.tokenizer.encode(text).ids) + 1
            allowed = set(self.tokenizer.encode(true).ids)
            tokens = self.tokenizer.encode(told, add_special_tokens=False).ids
            altered = [int(token not in allowed) for token in tokens]
            labels[row, start : start + len(tokens)] = torch.tensor(altered)
        weight = self.settings.detection_weight
        return lambda model: weight * _detection_loss(model, ids, attention, labels)

    def _any(self, rng: np.random.Generator) -> str:
        if self.shares is not None:
            return self.languages[rng.choice(len(self.languages), p=self.shares / self.shares.sum())]
        return self.languages[rng.integers(len(self.languages))]

    def _two(self, rng: np.random.Generator) -> tuple[str, str]:
        """Two languages in random order, in half of the cases one of them English."""
        drawn = None if self.shares is None else self.shares / self.shares.sum()
        first, second = rng.choice(len(self.languages), 2, replace=False, p=drawn)
        if rng.random() < 0.5:
            first, second = (0, second) if second else (first, 0)
        return self.languages[first], self.languages[second]

    def _encode(self, pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, rows x longest row, of pairs whose second part may be empty."""
        rows = [e.ids for e in self.tokenizer.encode_batch([pair if pair[1] else pair[0] for pair in pairs])]
        ids = np.full((len(rows), max(map(len, rows))), PAD)
        for line, row in zip(ids, rows, strict=True):
            line[: len(row)] = row
        tensor = torch.from_numpy(ids)
        return tensor, (tensor != PAD).long()

    def _masked(self, rng: np.random.Generator, pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor, Tensor]:
        """Input ids, attention mask and labels of masked language modelling."""
        ids, attention = self._encode(pairs)
        rate = self.settings.mask_rate
        seen, labels = mask_pieces(rng, ids.numpy(), rate=rate, first=UNK + 1, mask_id=self.mask_id)
        return torch.from_numpy(seen), attention, torch.from_numpy(labels)

    def _encode_glossary(self) -> list[list[list[int]]]:
        """Per entry, the piece ids of its form in each language that has one."""
        encoded = []
        self._entry_shares: list[NDArray[np.float64] | None] = []
        for entry in self.world.glossary():
            read = self._read(entry)
            forms = [
                self.tokenizer.encode(form.split(), is_pretokenized=True, add_special_tokens=False)
                for form in read.values()
            ]
            if len(forms) > 1:
                encoded.append([form.ids for form in forms])
                self._entry_shares.append(self._shares_of(read))
        return encoded

    def _read(self, entry: Mapping[str, str]) -> Mapping[str, str]:
        """The forms of an entry in the languages that are read at all."""
        if self.shares is None:
            return entry
        read = {language for language, share in zip(self.languages, self.shares, strict=True) if share}
        return {language: form for language, form in entry.items() if language in read}

    def _shares_of(self, languages: Iterable[str]) -> NDArray[np.float64] | None:
        if self.shares is None:
            return None
        shares = self.shares[[self.languages.index(language) for language in languages]]
        found: NDArray[np.float64] = shares / shares.sum()
        return found

    def _word_pairs(self, rng: np.random.Generator) -> tuple[list[list[int]], list[list[int]]]:
        """Some glossary entries, each in two random languages."""
        some = rng.choice(len(self.glossary), min(self.settings.word_pairs, len(self.glossary)), replace=False)
        chosen = [(self.glossary[i], self._forms(rng, i)) for i in some]
        return [entry[two[0]] for entry, two in chosen], [entry[two[1]] for entry, two in chosen]

    def _forms(self, rng: np.random.Generator, entry: int) -> NDArray[np.int64]:
        """Two forms of an entry, or more."""
        shares = self._entry_shares[entry]
        count = len(self.glossary[entry])
        return rng.permutation(count) if shares is None else rng.choice(count, 2, replace=False, p=shares)

    def _contrast(
        self,
        model: XLMRobertaForMaskedLM,
        left: tuple[Tensor, Tensor],
        right: tuple[Tensor, Tensor],
        words: tuple[list[list[int]], list[list[int]]],
    ) -> Tensor:
        settings = self.settings
        embedding = model.roberta.embeddings.word_embeddings.weight
        first, second = (_bags(embedding, side) for side in words)
        forms: dict[tuple[int, ...], int] = {}
        left_form, right_form = (
            torch.tensor([forms.setdefault(tuple(bag), len(forms)) for bag in side]) for side in words
        )
        same = left_form[:, None] == right_form[None, :]
        loss = settings.word_weight * self._agreement(first, second, same)
        pooled = zip(_pooled(model, *left), _pooled(model, *right), strict=True)
        terms = [self._agreement(a, b) for a, b in pooled]
        return loss + settings.sentence_weight * torch.stack(terms).mean()

    def _agreement(self, first: Tensor, second: Tensor, same: Tensor | None = None) -> Tensor:
        contrast = _info_nce(first, second, self.settings.temperature, same)
        return contrast + self.settings.closeness * (1 - F.cosine_similarity(first, second)).mean()


def _detection_loss(model: XLMRobertaForMaskedLM, ids: Tensor, attention: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy; the LM head's rows of <s> (fits) and <unk> are free to answer."""
    hidden = model.roberta(input_ids=ids, attention_mask=attention).last_hidden_state
    at = labels != IGNORED
    logits = model.lm_head(hidden[at])[:, [BOS, UNK]]
    return F.cross_entropy(logits, labels[at])


def _pooled(model: XLMRobertaForMaskedLM, ids: Tensor, attention: Tensor) -> list[Tensor]:
    """Masked means of every layer's hidden states, the embeddings left out: each rows x width."""
    states = model.roberta(input_ids=ids, attention_mask=attention, output_hidden_states=True).hidden_states
    weights = attention.unsqueeze(-1).to(states[0].dtype)
    return [(state * weights).sum(1) / weights.sum(1) for state in states[1:]]


def _bags(embedding: Tensor, bags: Sequence[Sequence[int]]) -> Tensor:
    """The mean embedding of each list of pieces."""
    offsets = np.cumsum([0, *(len(bag) for bag in bags[:-1])])
    return F.embedding_bag(
        torch.tensor([i for bag in bags for i in bag]), embedding, torch.from_numpy(offsets), mode="mean"
    )


def _info_nce(first: Tensor, second: Tensor, temperature: float, same: Tensor | None = None) -> Tensor:
    """The contrast of equal rows with unequal ones, both ways; unequal rows marked `same` are left out."""
    logits = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T / temperature
    if same is not None:
        logits = logits.masked_fill(same & ~torch.eye(len(logits), dtype=torch.bool), float("-inf"))
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
