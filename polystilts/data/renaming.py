"""Consistent renaming: the same name in both sentences of a pair becomes another name in both.

Whether two sentences say the same does not depend on what its people and places are called, so a model's answer should
not either. (Changing names in one sentence alone is how PAWS makes sentences that do *not* say the same.)

There is no entity recogniser here, only the writing: a name is a sequence of capitalised words, in a text of another
script too (Latin names in Korean), or katakana joined by a dot (ジョン・スミス). Pairs in which nothing of that kind
stands in both sentences are left out, and their number is given: names in Chinese characters are not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random

from polystilts.formats.values import PairExample

#: New names by script (the first word of the Unicode names of its letters). Each names people as well as places, so
#: that it can stand for both.
NAMES: Mapping[str, tuple[str, ...]] = {
    "LATIN": (
        "Lincoln", "Hamilton", "Wellington", "Preston", "Chester", "Warwick", "Clifton", "Kingston", "Milton",
        "Stafford", "Burton", "Carlisle", "Bradford", "Winston", "Lancaster", "Darwin",
    ),
    "CYRILLIC": ("Линкольн", "Гамильтон", "Веллингтон", "Престон", "Честер", "Кингстон", "Милтон", "Дарвин"),
    "GREEK": ("Λίνκολν", "Χάμιλτον", "Ουέλινγκτον", "Πρέστον", "Τσέστερ", "Κίνγκστον", "Μίλτον", "Ντάργουιν"),
    "KATAKANA": ("リンカーン", "ハミルトン", "ウェリントン", "プレストン", "チェスター", "ダーウィン"),
}  # fmt: skip

#: Scripts with capitals, and the one whose foreign names have dots between their parts.
_CASED, _DOTTED, _DOT = ("LATIN", "CYRILLIC", "GREEK"), "KATAKANA", "・"

#: German writes every noun with a capital.
_CAPITAL_NOUNS = ("de",)

#: Capitalised English words that are no names: by themselves they are not renamed.
_NO_NAMES = frozenset({
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "French", "Dutch",
    "Greek", "Welsh", "Czech", "Swiss", "Thai", "Arab",
})  # fmt: skip
_ADJECTIVE = re.compile(r".+(?:ish|ese|ian|ean|ican|aic|tic|ism)$")

_SENTENCE_END = re.compile(r"[.!?:\"“”„«»]\W*$")


@dataclass(frozen=True)
class Renamed:
    """The pairs that could be renamed, in order, and how many there were.

    Attributes:
        rows: renamed pairs, with their ids and labels.
        asked: pairs that were asked for.
    """

    rows: tuple[PairExample, ...]
    asked: int

    @property
    def share(self) -> float:
        """Renamed pairs as a share of those asked for; 0 where there are none."""
        return len(self.rows) / self.asked if self.asked else 0.0


@dataclass(frozen=True, slots=True)
class _Run:
    """Letters of one script in a row: `text` is the source's [start:end]; `first`: it begins a sentence."""

    text: str
    start: int
    end: int
    script: str
    first: bool


def rename_all(rows: Iterable[PairExample], *, seed: int = 0, english: Iterable[PairExample] = ()) -> Renamed:
    """`rename` for each pair; those without a name in both sentences are left out.

    Args:
        rows: pairs of one language.
        seed: as `rename`.
        english: the same pairs in English, by id, of a parallel set; needed where every noun has a capital (German).
    """
    pairs = list(rows)
    originals = {pair.id: pair for pair in english}
    renamed = (rename(pair, seed=seed, english=originals.get(pair.id)) for pair in pairs)
    return Renamed(tuple(pair for pair in renamed if pair is not None), len(pairs))


def rename(pair: PairExample, *, seed: int = 0, english: PairExample | None = None) -> PairExample | None:
    """The pair with one name that both sentences have replaced by another of as many words; None if there is none.

    The longest such name is taken. Each of its words becomes one new word wherever it stands in either sentence, so
    that a later mention of a part (the surname) is renamed too. A name is passed over if a longer word begins with
    one of its words (German ``Johns`` beside ``John``), which would be left behind.

    Args:
        pair: two sentences.
        seed: with the pair's id chooses among names of equal length and among new names.
        english: the same pair in English. In German only words that it has too are names; without it only two
            capitalised words in a row are, and these may be common nouns.
    """
    sides = [list(_runs(text)) for text in (pair.premise, pair.hypothesis)]
    random = Random(blake2b(f"{seed}\0{pair.id}".encode("utf-8", "surrogatepass"), digest_size=8).digest())
    words = {run.text for side in sides for run in side}
    known: set[str] | None = None
    if pair.language in _CAPITAL_NOUNS and english is not None:
        known = {run.text for text in (english.premise, english.hypothesis) for run in _runs(text)}
    for name in _shared_names(pair, sides, known, random):
        script = next(run.script for run in sides[0] if run.text == name[0])
        new = [word for word in NAMES[script] if not any(word in other or other in word for other in words)]
        parts = list(dict.fromkeys(name))
        if len(new) < len(parts) or any(_longer(part, words) for part in parts):
            continue
        names = dict(zip(parts, random.sample(new, len(parts)), strict=True))
        premise, hypothesis = (
            _replaced(text, side, names) for text, side in zip((pair.premise, pair.hypothesis), sides, strict=True)
        )
        return replace(pair, premise=premise, hypothesis=hypothesis)
    return None


def _runs(text: str) -> Iterator[_Run]:
    """Maximal runs of letters (with their marks) of one script."""
    start, script = 0, ""
    for place, character in enumerate(f"{text} "):
        kind = _script(character)
        if kind == script or (script and unicodedata.category(character).startswith("M")):
            continue
        if script:
            before = text[:start]
            yield _Run(
                text[start:place], start, place, script, not before.strip() or bool(_SENTENCE_END.search(before))
            )
        start, script = place, kind


def _script(character: str) -> str:
    """The script of a letter, '' for anything else. The mark of long vowels is Katakana."""
    if character == "ー":
        return "KATAKANA"
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""


def _shared_names(
    pair: PairExample, sides: Sequence[Sequence[_Run]], known: set[str] | None, random: Random
) -> list[tuple[str, ...]]:
    """Names that stand in both sentences, the longest first; of words in `known`, where that is given."""
    inside = {run.text for side in sides for run in side if not run.first}
    alone = known is not None or pair.language not in _CAPITAL_NOUNS
    found: list[set[tuple[str, ...]]] = []
    for text, side in zip((pair.premise, pair.hypothesis), sides, strict=True):
        # A capital at the start of a sentence tells nothing unless the word has it inside one too.
        chains = _chains(
            text,
            side,
            lambda run: (
                _is_name_word(run) and (not run.first or run.text in inside) and (known is None or run.text in known)
            ),
        )
        found.append({name for chain in chains for name in _names(text, chain, alone)})
    shared = sorted(found[0] & found[1])
    random.shuffle(shared)
    return sorted(shared, key=len, reverse=True)


def _chains(text: str, runs: Sequence[_Run], belongs: Callable[[_Run], bool]) -> list[list[_Run]]:
    """Maximal sequences of name words, joined as the words of one name are."""
    chains: list[list[_Run]] = []
    for run in filter(belongs, runs):
        last = chains[-1][-1] if chains else None
        if (
            last
            and last.script == run.script
            and text[last.end : run.start] == (_DOT if run.script == _DOTTED else " ")
        ):
            chains[-1].append(run)
        else:
            chains.append([run])
    return chains


def _names(text: str, chain: Sequence[_Run], alone: bool) -> Iterator[tuple[str, ...]]:
    """The names in a sequence of name words: every part of it, of one word only if that may be one."""
    for start in range(len(chain)):
        for end in range(start + 1, len(chain) + 1):
            if end - start > 1 or (alone and _is_name(text, chain[start])):
                yield tuple(run.text for run in chain[start:end])


def _is_name_word(run: _Run) -> bool:
    # All capitals are an abbreviation, which is another kind of word.
    cased = run.script in _CASED and len(run.text) > 2 and run.text[0].isupper() and not run.text.isupper()
    return cased or run.script == _DOTTED


def _is_name(text: str, run: _Run) -> bool:
    """Whether a name word is a name by itself: no katakana (a loan word), month or adjective, and without article."""
    described = run.text in _NO_NAMES or _ADJECTIVE.fullmatch(run.text) or text[: run.start].endswith("the ")
    return run.script != _DOTTED and not described


def _longer(part: str, words: Iterable[str]) -> bool:
    return any(word != part and word.casefold().startswith(part.casefold()) for word in words)


def _replaced(text: str, runs: Sequence[_Run], names: Mapping[str, str]) -> str:
    pieces, last = [], 0
    for run in runs:
        if run.text in names:
            pieces += [text[last : run.start], names[run.text]]
            last = run.end
    return "".join([*pieces, text[last:]])
