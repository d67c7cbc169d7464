"""The page of a version: every number on it, short enough for every store, and nothing in it but text."""

import html as escaping
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from polystilts.analysis.card_plot import heat_map, language_plot
from polystilts.errors import InvalidValue
from polystilts.tasks.languages import LANGUAGES
from polystilts.tracking.card import MICRO_NOTE, description, html, markdown
from tests.tracking.cards import card

HOSTILE = "</td><script>alert('x')</script>|**b** [c](javascript:d) `e` $f_g$ &lt; \n# h"


def plain(rendered):
    """The text of an HTML page or fragment, blanks made one."""
    return " ".join(escaping.unescape(re.sub(r"<[^>]*>", " ", rendered)).split())


def rendered(text):
    return MarkdownIt("commonmark").enable("table").render(text)


def expected(made):
    """Every figure and name of a card, as it must be read."""
    yield from (made.target, made.title, made.metric, made.base, made.recipe, made.source, made.precision, "13")
    yield from ("70.4", "69.6 to 71.2", "+1.5", "+0.6 to +2.4", "−0.4", "−1.0 to +0.3", "version 17")
    for line in made.languages:
        language = LANGUAGES[line.code]
        yield from (line.code, language.name, language.family, language.script, str(line.rows), line.verdict)
        yield "absent" if language.cc100 == 0 else "–" if language.cc100 is None else str(language.cc100)
        yield from (f"{line.score.value:.1f} ({line.score.low:.1f} to {line.score.high:.1f})", f"{line.smallest:.1f}")
        for difference in (line.to_baseline, line.to_champion):
            for value in (difference.value, difference.low, difference.high):
                yield f"{abs(value):.1f}"
    yield from ("68.9 (67.8 to 70.0)", "0.021", "< 0.001", "ur 58.8", "chosen", "not better", "66.2 (63.9 to 68.5)")
    yield from ("passed", "failed", "−0.5", "−0.71", "worse than version 17 by 0.71, p = 0.031")
    yield from ("OANC", "392702", "cd7a4b3", "CC BY-SA 4.0", "Non-commercial: squad_v2.", "130319", "a1b2c3d")
    yield from (made.contamination, "0.93", "2.17", "279.4", "0.21", "0.66", "281.9", "this version")
    yield from ("15,000", "1, a near-tie", "3.1e-06", "9.5 ms per text", "9 to 213 tokens", made.intended_use)
    yield from (*made.limits, *(value for _, value in made.lineage))


@pytest.mark.parametrize("form", [html, lambda made: rendered(markdown(made))], ids=["html", "markdown"])
def test_the_whole_card_has_every_number(form):
    made = card(54)
    text = plain(form(made))
    assert [part for part in expected(made) if part not in text] == []


def test_the_weakest_language_comes_first_and_verdicts_are_named():
    text = markdown(card(8))
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    scores = [float(line.split("|")[3].split()[0]) for line in table[:8] if "to" in line]
    assert scores == sorted(scores)
    assert "Shown to be worse than the champion: German." in text
    assert "Cannot tell (on the choice rows the interval holds a loss beyond the limit): Azerbaijani." in text


def test_the_description_fits_every_store_and_says_the_main_things():
    text = description(card(40))
    assert len(text) < 5000
    shown = plain(rendered(text))
    weakest = sorted(card(40).languages, key=lambda line: line.score.value)
    for line in weakest[:5]:
        assert LANGUAGES[line.code].name in shown and f"{line.score.value:.1f}" in shown
    assert "weakest 5 of 40" in shown
    for part in ("70.4", "+1.5", "against the champion, version 17", "mnli+squad_v2", "OANC", "non-commercial"):
        assert part in shown
    for part in ("Trained on English alone", "CC-100 holds news", "0f3c9a", "e73636d4f797", "281.9 MB"):
        assert part in shown
    assert '<a href="https://mlflow.example.org/artifacts/card.html">Full card</a>' in rendered(text)


def test_no_text_is_too_long_for_the_description():
    long = "<&*" * 3000
    made = card(60, title=long, metric=long, recipe=long, base=long, limits=(long,) * 50, contamination=long, full=long)
    assert 1000 < len(description(made)) < 5000
    only_names = card(50, lineage=(("x" * 250, "y"),) * 100)
    assert len(description(only_names)) < 5000


def test_a_card_of_the_micro_world_says_so_everywhere(tmp_path):
    made = card(8, source="micro")
    for text in (description(made), markdown(made), html(made)):
        assert MICRO_NOTE in text
    assert MICRO_NOTE not in html(card(8))


def test_a_small_card_has_no_empty_part():
    made = card(
        1, to_baseline=None, to_champion=None, champion="", decisions=(), gates=(), data=(), contamination="",
        precisions=(), parity=(), latency_ms=None, intended_use="", limits=(), lineage=(), full="",
    )  # fmt: skip
    assert re.findall(r"^## (.*)", markdown(made), re.MULTILINE) == ["Languages"]
    assert "None" not in markdown(made) + html(made) + description(made)


class Tags(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def test_hostile_names_are_text(tmp_path):
    made = card(
        8, recipe=HOSTILE, title=HOSTILE, contamination=HOSTILE, limits=(HOSTILE,), lineage=((HOSTILE, HOSTILE),)
    )
    picture = language_plot(made, tmp_path / "languages.png")
    page = html(made, {HOSTILE: picture})
    parser = Tags()
    parser.feed(page)
    assert {tag for tag, _ in parser.seen} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "b", "div", "span", "table",
        "thead", "tbody", "tr", "th", "td", "svg", "rect", "img",
    }  # fmt: skip
    assert not [attributes for _, attributes in parser.seen if any(name.startswith("on") for name in attributes)]
    assert all(
        attributes["src"].startswith("data:image/png;base64,") for tag, attributes in parser.seen if tag == "img"
    )
    assert "alert('x')" in plain(page)
    one_line = " ".join(HOSTILE.split())
    for form in (markdown, description):
        shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(form(made))
        for piece in ("<script", 'javascript:d"', "<strong>b<", "<code>", "<h1>h"):
            assert piece not in shown
        assert one_line in " ".join(escaping.unescape(re.sub(r"</?\w[^>]*>", "", shown)).split())


def test_pictures(tmp_path):
    made = card(40, recipe=HOSTILE)
    with Image.open(language_plot(made, tmp_path / "below" / "languages.png")) as image:
        assert image.format == "PNG" and image.height > image.width / 2
    scores = {
        (r, t): 50.0 + 7 * i - 3 * j for i, r in enumerate(("mnli", "baseline", HOSTILE)) for j, t in enumerate("abc")
    }
    del scores["mnli", "b"]
    for given in (scores, {("mnli", "a"): 70.0}):
        with Image.open(heat_map(given, tmp_path / "heat.png", note=MICRO_NOTE)) as image:
            assert image.format == "PNG"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["below", "heat.png"]  # nothing half-written stays


def test_the_limit_is_checked_in_the_end(monkeypatch):
    monkeypatch.setattr("polystilts.tracking.card.text.DESCRIPTION_LIMIT", 100)
    with pytest.raises(InvalidValue, match="a registry keeps fewer than 100"):
        description(card())
