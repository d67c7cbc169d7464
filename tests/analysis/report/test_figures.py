"""The pictures: every number is in them, many languages stay apart, what was not measured is said."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from polystilts.analysis.intervals import Estimate
from polystilts.analysis.report.canvas import ABOVE, BELOW, DARK, INK, with_note
from polystilts.analysis.report.figures import (
    STRONGEST,
    LanguagePoint,
    Line,
    gain_by_size,
    heat_map,
    interaction,
    language_dots,
    layer_curves,
    noise_curves,
)
from polystilts.analysis.report.values import NOT_MEASURED, Drawing
from polystilts.errors import InvalidValue
from polystilts.tasks.languages import LANGUAGES

SVG = "{http://www.w3.org/2000/svg}"


def around(value: float, half: float = 1.0) -> Estimate:
    return Estimate(value, value - half, value + half, half / 2)


def languages(number: int, series: tuple[str, ...] = ("mnli",)) -> list[LanguagePoint]:
    rng = np.random.default_rng(0)
    known = [language for language in LANGUAGES.values() if language.cc100 is not None][:number]
    return [
        LanguagePoint(
            x.code, x.name, x.script, x.cc100 or 0.0, {name: around(float(rng.normal(1, 3))) for name in series}
        )
        for x in known
    ]


def texts(drawing: Drawing) -> list[str]:
    root = ElementTree.fromstring(drawing.svg)
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def size(drawing: Drawing) -> tuple[float, float]:
    *_, width, height = map(float, ElementTree.fromstring(drawing.svg).attrib["viewBox"].split())
    return width, height


def colours(drawing: Drawing) -> set[str]:
    return set(re.findall(r"#[0-9a-f]{6}\b", drawing.svg))


def every_drawing() -> dict[str, Drawing]:
    one = {"": {"baseline": [around(50.0), 40.0], "mnli": [None, around(45.0)]}}
    return {
        "heat": heat_map(
            {("mnli", "xnli"): around(2.0), ("mnli", "panx"): -1.0}, rows=["mnli"], columns=["xnli", "panx"]
        ),
        "dots": language_dots(languages(3)),
        "size": gain_by_size(languages(12), series="mnli"),
        "noise": noise_curves(one, rates=[0, 20]),
        "layers": layer_curves(one, fixed=1, best={"baseline": 0}),
        "interaction": interaction(one, sizes=["base", "large"]),
    }


@pytest.mark.parametrize("name", ["heat", "dots", "size", "noise", "layers", "interaction"])
def test_pictures_are_complete_in_themselves(name: str) -> None:
    drawing = every_drawing()[name]
    root = ElementTree.fromstring(drawing.svg)
    assert root.tag == f"{SVG}svg" and not list(root.iter(f"{SVG}image"))
    assert "<!DOCTYPE" not in drawing.svg and "metadata" not in drawing.svg
    assert not re.search(r"(href=\"|url\()(?!#)", drawing.svg)
    assert colours(drawing) <= set(DARK), "a page gives each of these colours its own"
    assert len(drawing.alt) > 40 and drawing.alt.endswith(".") and "nan" not in drawing.alt
    assert drawing == every_drawing()[name], "the same numbers give the same picture"


def test_the_heat_map_prints_every_value_with_its_sign_and_colour() -> None:
    cells = {("mnli", "xnli"): around(5.0), ("mnli", "panx"): around(-2.5), ("qqp", "xnli"): around(0.2)}
    drawing = heat_map(cells, rows=["mnli", "qqp"], columns=["xnli", "panx"])
    assert {"+5.0", "−2.5", "+0.2", NOT_MEASURED} <= set(texts(drawing))
    assert {ABOVE, BELOW} <= colours(drawing)
    assert "Highest mnli on xnli +5.0, lowest mnli on panx −2.5; 1 of 3 below 0." in drawing.alt
    assert "1 not measured." in drawing.alt
    bold = {
        "".join(e.itertext())
        for e in ElementTree.fromstring(drawing.svg).iter(f"{SVG}text")
        if "bold" in str(e.attrib) or "700" in str(e.attrib)
    }
    assert bold == {"+5.0", "−2.5"}, "bold where the interval excludes 0"


def test_the_heat_map_is_centred_at_zero() -> None:
    """One sign has one colour alone, however far the values are from 0."""
    cells = {("mnli", name): value for name, value in (("xnli", 10.0), ("panx", 30.0))}
    cell = [fill for fill in _cells(heat_map(cells, rows=["mnli"], columns=["xnli", "panx"]))]
    assert [colour for colour, _ in cell] == [ABOVE, ABOVE] and cell[0][1] < cell[1][1]
    same = [
        strength
        for _, strength in _cells(heat_map({("a", "x"): -7.0, ("a", "y"): 7.0}, rows=["a"], columns=["x", "y"]))
    ]
    assert same[0] == same[1]


def _cells(drawing: Drawing) -> list[tuple[str, float]]:
    """Colour and strength of the cells, which are drawn before the key's six."""
    found = re.findall(r"fill: (#[0-9a-f]{6}); opacity: ([\d.]+)", drawing.svg)
    filled = [(colour, float(strength)) for colour, strength in found if colour in (ABOVE, BELOW)]
    return filled[:-6]


def test_cells_that_support_no_conclusion_have_no_colour_and_do_not_stretch_the_scale() -> None:
    cells = {("mnli", "xnli"): around(2.0), ("mnli", "panx"): around(90.0)}
    drawing = heat_map(cells, rows=["mnli"], columns=["xnli", "panx"], weak=frozenset({("mnli", "panx")}))
    assert "(+90.0)" in texts(drawing) and len(_cells(drawing)) == 1
    assert texts(drawing).count("+2.0") == 2, "the cell, and the end of the key"
    assert "mnli on xnli +2.0. 1 in brackets support no conclusion." in drawing.alt


def test_a_heat_map_of_nothing_says_so() -> None:
    drawing = heat_map({("mnli", "xnli"): math.nan}, rows=["mnli"], columns=["xnli"])
    assert "Nothing was measured. 1 not measured." in drawing.alt and NOT_MEASURED in texts(drawing)


@pytest.mark.parametrize("number", [1, 40])
def test_every_language_has_a_line_of_its_own(number: int) -> None:
    points = languages(number, ("mnli", "squad_v1"))
    drawing = language_dots(points)
    said = texts(drawing)
    for point in points:
        assert sum(text.startswith(f"{point.name} ") for text in said) == 1
    assert set(said) >= {point.group for point in points}
    width, height = size(drawing)
    assert 400 < width < 900 and height > 14 * number, "at least a line of text for each language"


def test_a_language_shows_its_size_or_that_it_is_not_seen_and_what_is_missing() -> None:
    points = [
        LanguagePoint("sw", "Swahili", "Latin", 1.6, {"mnli": around(1.0)}),
        LanguagePoint("yo", "Yoruba", "Latin", 0, {"mnli": math.nan}),
        LanguagePoint("am", "Amharic", "Ethiopic", math.nan, {}),
    ]
    said = [re.sub(r"\s+", " ", text) for text in texts(language_dots(points))]
    assert {"Swahili (1.6 GiB)", "Yoruba (not seen)", "Amharic (size unknown)"} <= set(said)
    assert said.count(NOT_MEASURED) == 2
    assert "2 not measured." in language_dots(points).alt


def test_more_recipes_than_panels_in_a_row_start_a_new_row() -> None:
    five = language_dots(languages(4, ("a", "b", "c", "d", "e")))
    four = language_dots(languages(4, ("a", "b", "c", "d")))
    assert size(five)[1] > 1.7 * size(four)[1] and {"a", "b", "c", "d", "e"} <= set(texts(five))


def test_gain_by_size_names_every_language_once_and_sets_the_unseen_apart() -> None:
    points = languages(44)
    unseen = [point.code for point in points if point.size == 0]
    line = Line([0.2, 300.0], [-1.0, 2.0], [-2.0, 1.0], [0.0, 3.0])
    drawing = gain_by_size(points, line, series="mnli")
    said = texts(drawing)
    assert unseen and all(said.count(point.code) == 1 for point in points)
    assert "not seen" in said and "from −1.0 at 0.2 to +2.0 at 300" in drawing.alt
    assert "Apart, languages that the base has not seen: Haitian" in drawing.alt
    seen = [point for point in points if point.size > 0]
    assert "not seen" not in texts(gain_by_size(seen, line, series="mnli"))


def test_names_of_points_do_not_cover_one_another() -> None:
    """Forty languages whose sizes crowd at the upper end, as CC-100's do."""
    root = ElementTree.fromstring(gain_by_size(languages(40), series="mnli").svg)
    codes = {point.code for point in languages(40)}
    boxes = []
    for element in root.iter(f"{SVG}text"):
        name = "".join(element.itertext()).strip()
        if name not in codes:
            continue
        x, y = float(element.attrib["x"]), float(element.attrib["y"])
        anchor = re.search(r"text-anchor: (\w+)", element.attrib.get("style", ""))
        left = x - {"middle": 5.0, "end": 10.0}.get(anchor.group(1) if anchor else "start", 0.0)
        boxes.append((left, y - 6, left + 9, y))
    assert len(boxes) == len(codes)
    covered = sum(
        min(a[2], b[2]) - max(a[0], b[0]) > 2 and min(a[3], b[3]) - max(a[1], b[1]) > 2
        for number, a in enumerate(boxes)
        for b in boxes[:number]
    )
    assert covered == 0


def test_curves_name_every_line_at_its_end_and_tell_first_and_last_point() -> None:
    lines = {"baseline": [around(60.0), around(50.0), around(40.0)], "mnli": [around(61.0), None, math.nan]}
    drawing = noise_curves({"tagging": lines, "pair": lines}, rates=[0, 10, 20])
    assert texts(drawing).count("mnli") == 2 and {"tagging", "pair"} <= set(texts(drawing))
    assert (
        "tagging: baseline 60.0 at 0 to 40.0 at 20; mnli 61.0 at 0." in drawing.alt and "4 not measured." in drawing.alt
    )


def test_layer_curves_mark_the_fixed_and_the_best_layer() -> None:
    lines = {"": {"baseline": [float(layer) for layer in range(25)]}}
    plain, marked = layer_curves(lines), layer_curves(lines, fixed=14, best={"baseline": 20})
    assert "The fixed layer is 14." in marked.alt and marked.svg.count("<path") > plain.svg.count("<path")


def test_the_interaction_names_the_sizes() -> None:
    drawing = interaction({"": {"xnli": [around(1.0), around(3.0)]}}, sizes=["base (278 M)", "large (560 M)"])
    assert {"base (278 M)", "large (560 M)", "xnli"} <= set(texts(drawing))
    assert "1.0 at base (278 M) to 3.0 at large (560 M)" in drawing.alt


@pytest.mark.parametrize("value", [0.0, 1e9, -1e9, 1e-12])
def test_extreme_values_are_drawn(value: float) -> None:
    wide = Estimate(value, -math.inf, math.inf, math.inf)
    point = LanguagePoint("sw", "Swahili", "Latin", 1.6, {"mnli": wide})
    for drawing in (
        heat_map({("a", "b"): wide}, rows=["a"], columns=["b"]),
        language_dots([point]),
        gain_by_size([point], series="mnli"),
        noise_curves({"": {"baseline": [wide, wide]}}, rates=[0, 5]),
        interaction({"": {"xnli": [wide]}}, sizes=["base"]),
    ):
        ElementTree.fromstring(drawing.svg)
        assert "nan" not in drawing.svg and "inf" not in drawing.svg


def test_one_wide_interval_does_not_press_the_others_into_a_line() -> None:
    narrow, wide = (
        languages(6),
        LanguagePoint("yo", "Yoruba", "Latin", 0, {"mnli": Estimate(0.0, -500.0, 500.0, 250.0)}),
    )
    ticks = [float(t.replace("−", "-")) for t in texts(language_dots([*narrow, wide])) if re.fullmatch(r"−?[\d.]+", t)]
    assert max(map(abs, ticks)) < 50


def test_names_in_every_script_and_signs_of_markup_are_text() -> None:
    names = ["العربية", "中文", "<b>", "$x^2$", "ไทย"]
    drawing = heat_map({(name, "x & y"): 1.0 for name in names}, rows=names, columns=["x & y"])
    assert {*names, "x & y"} <= set(texts(drawing))


def test_a_note_stands_above_a_picture_on_its_own() -> None:
    drawing = heat_map({("a", "b"): 1.0}, rows=["a"], columns=["b"])
    noted = Drawing(with_note(drawing, "The micro world <says> nothing."), drawing.alt)
    assert "The micro world <says> nothing." in texts(noted) and size(noted)[1] > size(drawing)[1]
    assert with_note(drawing, "") == drawing.svg


def test_nothing_to_draw_is_refused() -> None:
    for draw in (
        lambda: heat_map({}, rows=[], columns=["x"]),
        lambda: heat_map({}, rows=["x"], columns=[]),
        lambda: language_dots([]),
        lambda: gain_by_size([]),
        lambda: noise_curves({}, rates=[0]),
        lambda: noise_curves({"": {}}, rates=[]),
        lambda: layer_curves({"": {}}),
    ):
        with pytest.raises(InvalidValue, match="a picture needs"):
            draw()
    with pytest.raises(InvalidValue, match="the line 'mnli' has 1 points; the axis has 2"):
        noise_curves({"": {"mnli": [1.0]}}, rates=[0, 5])


@pytest.mark.parametrize("cell", [ABOVE, BELOW])
def test_values_can_be_read_on_the_strongest_cell_in_light_and_dark(cell: str) -> None:
    """WCAG 2.2 asks for a contrast of 4.5 for small text."""
    for palette in ({colour: colour for colour in DARK}, DARK):
        ground, strong = (_channels(palette[colour]) for colour in ("#ffffff", cell))
        mixed = [STRONGEST * s + (1 - STRONGEST) * g for s, g in zip(strong, ground, strict=True)]
        one, other = sorted((_luminance(mixed), _luminance(_channels(palette[INK]))))
        assert (other + 0.05) / (one + 0.05) >= 4.5


def _channels(colour: str) -> list[float]:
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def _luminance(channels: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
