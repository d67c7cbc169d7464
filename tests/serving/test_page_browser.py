"""The page in headless Chromium, over the real server on tiny bundles: what a person sees and can do.

Deselected in `make test`; `make test-page` runs them. Playwright is imported inside the fixtures, so that these tests
are collected where it is not installed.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipelines.serve import Server, start_server
from serving.endpoints import ENDPOINTS
from serving.examples import EXAMPLES
from tests.world.bundles import tiny_models

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

pytestmark = pytest.mark.browser

#: Tasks with a tab of their own.
TASKS = [endpoint.name for endpoint in ENDPOINTS if endpoint.name != "embeddings"]
#: Chrome's own note of a response that is an error; expected where an error is.
REFUSED = "Failed to load resource"
#: Beyond U+FFFF: a letter, a rare Han character, joined and flagged emoji.
WIDE = "𝒳 𠮷野家 👩‍🚀🏳️‍🌈 cafe\u0301 Marie Curie lebt in Köln und 東京, naïve 🎉 Zoé auch."

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with start_server(models) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's sandbox needs rights that containers do not give; it opens our own page alone.
        yield playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])


Open = Callable[..., "Page"]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens the page of a server. Afterwards: nothing was asked of anyone else, and no script failed."""
    contexts: list[BrowserContext] = []
    asked: list[str] = []
    failed: list[str] = []
    urls: list[str] = []

    def note(message: Any) -> None:
        if message.type == "error" and REFUSED not in message.text:
            failed.append(message.text)

    def visit(server: Server, task: str = "nli", **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        urls.append(server.url + "/")
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", note)
        page.goto(f"{server.url}/#{task}")
        page.wait_for_selector(".state.good, .state.wait, .state.wrong")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert asked and not failed
    assert [url for url in asked if not url.startswith((*urls, "data:"))] == []


def answer(page: Page, press: Callable[[], None]) -> dict[str, Any]:
    """The JSON of the answer to what `press` sends, when it is on the page."""
    with page.expect_response(re.compile(r"/v1/(?!models)")) as waiting:
        press()
    page.wait_for_selector("#answer[aria-busy=false] > *:not(.empty)")
    return dict(waiting.value.json())


def ask(page: Page) -> dict[str, Any]:
    return answer(page, lambda: page.click("#ask"))


def spoken(page: Page) -> str:
    return page.locator("#said").inner_text()


@pytest.mark.parametrize("task", TASKS)
def test_every_task_answers_its_examples(visit: Open, server: Server, task: str) -> None:
    page = visit(server, task)
    assert page.get_by_role("tab", selected=True).get_attribute("id") == f"tab-{task}"
    chips = page.locator(".chip")
    assert chips.count() == len(EXAMPLES[task])
    for index in (1, chips.count() - 2):  # the last but one is right-to-left or Thai
        found = answer(page, chips.nth(index).click)
        assert "error" not in found and chips.nth(index).get_attribute("aria-pressed") == "true"
    assert page.locator(".round").inner_text().endswith("round trip")
    assert spoken(page)
    card = page.locator("#model").inner_text()
    assert (
        found["model"]["digest"][:12] in card and found["model"]["name"] in card and "fp32" in card and "tiny" in card
    )


def test_probabilities_are_bars(visit: Open, server: Server) -> None:
    page = visit(server, "nli")
    result = ask(page)["result"]
    rows = page.locator(".bars li")
    fills = page.locator("#answer .fill").evaluate_all("all => all.map(one => one.style.width)")
    assert rows.count() == 3 and page.locator(".bars .best").inner_text().startswith(result["label"])
    shares = list(result["probabilities"].values())
    assert [float(width.rstrip("%")) / 100 for width in fills] == pytest.approx(shares, abs=1e-5)
    assert result["label"] in spoken(page)


def test_tags_stand_under_their_words(visit: Open, server: Server) -> None:
    page = visit(server, "pos")
    page.fill("#field-text", WIDE)
    tokens = ask(page)["result"]["tokens"]
    assert page.locator(".word .text").all_inner_texts() == [token["text"] for token in tokens]
    assert page.locator(".word .tag").all_inner_texts() == [token["tag"] for token in tokens]
    above, below = page.locator(".word .text").first.bounding_box(), page.locator(".word .tag").first.bounding_box()
    assert above and below and above["y"] + above["height"] <= below["y"] + 1
    page.get_by_label("separated by spaces").check()
    page.fill("#field-text", "a-b  c")
    assert [token["text"] for token in ask(page)["result"]["tokens"]] == ["a-b", "c"]


MARKS = "all => all.map(one => one.firstChild.textContent)"


@pytest.mark.parametrize("split", [False, True])
def test_entities_are_marked_by_code_points(visit: Open, server: Server, split: bool) -> None:
    page = visit(server, "ner")
    page.fill("#field-text", WIDE)
    page.get_by_label("separated by spaces").set_checked(split)
    found = ask(page)["result"]["entities"]
    points = list(WIDE)
    assert split or any(one["start"] > points.index("🎉") for one in found), "no entity behind the emoji: change WIDE"
    assert split or all("".join(points[one["start"] : one["end"]]) == one["text"] for one in found)
    assert page.locator("mark").evaluate_all(MARKS) == [one["text"] for one in found]
    assert page.locator("#answer tbody tr").count() == len(found)
    shown = page.locator(".running").evaluate(
        "all => [...all.childNodes].map(one => (one.nodeType === 3 ? one : one.firstChild).textContent).join('')"
    )
    assert shown == WIDE


def test_the_answer_is_marked_in_its_context(visit: Open, server: Server) -> None:
    page = visit(server, "qa")
    for context in (WIDE, "👩‍🚀" * 40 + " " + WIDE * 3):
        page.fill("#field-context", context)
        result = ask(page)["result"]
        assert page.locator("mark").evaluate_all(MARKS) == ([result["answer"]] if result["answer"] else [])
        before = "all => all[0].previousSibling.textContent"
        assert [*page.locator("mark").evaluate_all(before)] == [*context[: result["start"]]]
        assert page.locator(".quote").inner_text() == context


def test_right_to_left_is_right_to_left(visit: Open, server: Server) -> None:
    page = visit(server, "qa")
    answer(page, page.get_by_role("button", name="Arabic").click)
    direction = "one => getComputedStyle(one).direction"
    assert page.locator("#field-context").evaluate(direction) == "rtl"
    assert page.locator(".quote").evaluate(direction) == "rtl"
    answer(page, page.get_by_role("button", name="German").click)
    assert page.locator("#field-context").evaluate(direction) == "ltr"


def test_sentences_are_compared(visit: Open, server: Server) -> None:
    page = visit(server, "embed")
    vectors = [result["embedding"] for result in ask(page)["results"]]
    assert len(vectors) == 3 and page.locator(".vector canvas").count() == 3
    cosine = sum(a * b for a, b in zip(vectors[0], vectors[2], strict=True))
    shown = page.locator(".likeness tbody tr").first.locator("td").last.inner_text()
    assert float(shown.replace("−", "-")) == pytest.approx(cosine, abs=0.006)
    painted = "one => one.getContext('2d').getImageData(0, 0, one.width, 1).data.some(Boolean)"
    assert page.locator("canvas").first.evaluate(painted)
    page.get_by_role("button", name="Remove sentence 3").click()
    page.get_by_role("button", name="Remove sentence 2").click()
    assert len(ask(page)["results"]) == 1
    page.get_by_role("button", name="Add a sentence").click()
    assert page.evaluate("document.activeElement.id") == "field-items-1"
    page.keyboard.type("猫在旧桌子上睡觉。")
    assert len(ask(page)["results"]) == 2
    assert "Cosine similarity" in page.locator(".verdict").inner_text()


def test_pairs_are_lines_between_their_sentences(visit: Open, server: Server) -> None:
    page = visit(server, "align")
    pairs = ask(page)["result"]["pairs"]
    paths = page.locator(".wires path")
    assert paths.count() == len(pairs) > 0
    page.wait_for_selector(".wires path[d]", state="attached")
    for index, pair in enumerate(pairs):
        line = paths.nth(index).bounding_box()
        source = page.locator(".aligned ol").first.locator("li").nth(pair["source"]).bounding_box()
        target = page.locator(".aligned ol").last.locator("li").nth(pair["target"]).bounding_box()
        assert line and source and target
        ends = sorted((source["y"] + source["height"] / 2, target["y"] + target["height"] / 2))
        assert (line["y"], line["y"] + line["height"]) == pytest.approx(tuple(ends), abs=4)
        assert line["x"] == pytest.approx(source["x"] + source["width"], abs=4)


def test_scores_and_lineage_are_on_the_card(visit: Open, server: Server) -> None:
    page = visit(server, "nli")
    scores = {"en": 81.5, "sw": 64.25, "ur": None}
    chain = {
        "phase": "target",
        "name": "xnli",
        "updates": 1200,
        "parent": {"phase": "pretrain", "name": "tiny", "seed": 7},
    }

    def more(route: Route) -> None:
        """The server's own answer, of a model that was measured and trained."""
        body = route.fetch().json()
        route.fulfill(json={**body, "data": [{**card, "scores": scores, "lineage": chain} for card in body["data"]]})

    page.route("**/v1/models", more)
    page.reload()
    page.wait_for_selector("#model .bars")
    rows = [" ".join(row.split()) for row in page.locator("#model .bars li").all_inner_texts()]
    assert rows == ["English 81.5", "Swahili 64.3"]
    steps = [" ".join(step.split()) for step in page.locator(".chain li").all_inner_texts()]
    assert steps == ["pretrain tiny seed 7", "target xnli 1,200 updates"]


def test_what_a_model_does_not_know_is_said(visit: Open, server: Server) -> None:
    page = visit(server, "embed")
    caution = "This model was not measured in Hebrew and Thai: do not rely on it."

    def more(route: Route) -> None:
        """The server's own answer, of a model of the micro world in int8."""
        body = route.fetch().json()
        known = {
            "languages": ["ar", "de"],
            "lineage": {"phase": "target", "name": "xnli", "parent": {"source": "micro", "phase": "intermediate"}},
            "exported_with": {"quantisation": {"activations": "row-wise"}},
            "precision": "int8",
        }
        route.fulfill(json={**body, "data": [{**card, **known} for card in body["data"]]})

    page.route("**/v1/models", more)
    page.reload()
    page.wait_for_selector("#model .caution")
    assert "made-up world" in page.locator("#model .caution").inner_text()
    assert "int8, row-wise" in page.locator("#model").inner_text()
    answer(page, page.get_by_role("button", name="Arabic").click)  # stands with the two examples after it
    assert page.locator("#answer .caution").inner_text() == caution
    page.fill("#field-items-1", "Wer weiß")
    ask(page)  # nobody says which language this is
    assert page.locator("#answer .caution").count() == 0
    page.click("#tab-nli")
    answer(page, page.get_by_role("button", name="English").click)
    assert page.locator("#answer .caution").count() == 0


def test_a_choice_more(visit: Open, server: Server) -> None:
    page = visit(server, "choice")
    page.get_by_role("button", name="Add a choice").click()
    page.keyboard.type("नींद")
    result = ask(page)["result"]
    assert len(result["probabilities"]) == page.locator(".bars li").count() == 3
    assert result["text"] in page.locator(".bars .best").inner_text()


def test_the_curl_line_is_the_request(visit: Open, server: Server) -> None:
    page = visit(server, "ner")
    page.fill("#field-text", 'It\'s \\ "quoted"\n$HOME `x` 猫')
    line = page.locator("#curl").inner_text()
    words = shlex.split(line.replace("\\\n", ""))
    assert words[:2] == ["curl", f"{server.url}/v1/ner"]
    assert json.loads(words[words.index("-d") + 1]) == {"text": 'It\'s \\ "quoted"\n$HOME `x` 猫'}
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the curl command").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#curl").text_content()


def test_markup_in_a_text_stays_text(visit: Open, server: Server) -> None:
    page = visit(server, "qa")
    page.fill("#field-context", "<img src=x onerror=alert(1)> <b>The cat</b> sleeps.")
    ask(page)
    assert page.locator("img, #answer b:not(.round)").count() == 0
    assert "<img src=x" in page.locator(".quote").inner_text()


def test_a_wrong_field_is_marked(visit: Open, server: Server) -> None:
    page = visit(server, "choice")
    page.fill("#field-choices-1", "x" * 20_001)
    refused = ask(page)["error"]
    message = refused["message"].replace("choices.1", "Choice 2")
    shown = page.locator("#answer").inner_text()
    assert message in shown and message != refused["message"] and "too long" in shown and refused["request_id"] in shown
    assert "20,001 given, 20,000 allowed" in shown
    field = page.locator("#field-choices-1")
    assert field.get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "field-choices-1"
    assert page.locator(f"#{field.get_attribute('aria-describedby')}").inner_text() == message
    assert page.get_by_role("alert").count() == 1
    page.fill("#field-choices-1", "short")
    assert field.get_attribute("aria-invalid") is None and page.locator(".problem").count() == 0
    assert "error" not in ask(page)


def test_a_bad_sentence_among_others_is_marked(visit: Open, server: Server) -> None:
    page = visit(server, "embed")
    page.fill("#field-items-1", "x" * 20_001)
    assert "error" in ask(page)["results"][1]
    assert page.evaluate("document.activeElement.id") == "field-items-1"
    assert page.locator("#field-items-1-problem").inner_text().startswith("Sentence 2 has 20001 characters")


def test_a_bad_line_is_named(visit: Open, server: Server) -> None:
    page = visit(server, "align")
    page.fill("#field-target", "one\n\n" + "x" * 20_001)
    assert ask(page)["error"]["param"] == "target.1"
    assert page.locator("#field-target-problem").inner_text().startswith("Target 2 has 20001 characters")


def test_an_empty_field_is_not_sent(visit: Open, server: Server) -> None:
    page = visit(server, "nli")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.fill("#field-hypothesis", " ")
    page.click("#ask")
    assert page.locator("#field-hypothesis-problem").inner_text() == "Write something here first."
    assert page.evaluate("document.activeElement.id") == "field-hypothesis" and sent == []


def test_a_lost_network_and_back(visit: Open, server: Server) -> None:
    page = visit(server, "pos")
    page.context.set_offline(True)
    page.click("#ask")
    page.get_by_text("The server cannot be reached").wait_for()
    page.context.set_offline(False)
    answer(page, page.get_by_role("button", name="Try again").click)
    assert page.locator(".word").count() > 0


def test_a_busy_server_is_asked_again(visit: Open, server: Server) -> None:
    page = visit(server, "pos")
    error = {"code": "overloaded", "message": "the queue is full", "type": "server_error", "param": None}
    body = json.dumps({"error": {**error, "limit": None, "given": None, "request_id": "abc"}})
    # A proxy's or server's refusal in the agreed form; a queue cannot be filled to order.
    refuse = {"status": 429, "headers": {"Retry-After": "2"}, "content_type": "application/json", "body": body}
    page.route("**/v1/pos", lambda route: route.fulfill(**refuse))
    ask(page)
    shown = page.locator("#answer").inner_text()
    assert "hands full" in shown and "The queue is full" in shown and "2 seconds" in shown
    page.unroute("**/v1/pos")
    assert "error" not in answer(page, page.get_by_role("button", name="Try again").click)
    page.route("**/v1/pos", lambda route: route.fulfill(status=503, body="<h1>a proxy's page</h1>"))
    page.click("#ask")
    page.get_by_text("The server is not ready").wait_for()


def test_a_task_without_a_model_is_greyed(visit: Open, tmp_path: Path) -> None:
    with start_server(tiny_models(tmp_path, ["xnli"])) as server:
        page = visit(server, "nli")
        page.wait_for_selector(".tab.none")
        assert page.locator(".tab.none").count() == len(TASKS) - 1
        assert "none" not in (page.locator("#tab-nli").get_attribute("class") or "")
        assert "error" not in ask(page)
        page.click("#tab-choice")
        made_by = "mlflow run . --env-manager local -P targets=xcopa"
        assert page.locator("#answer pre").inner_text() == made_by
        refused = ask(page)["error"]
        assert refused["code"] == "no_model" and page.locator("#answer pre").inner_text() == made_by


def test_an_api_key_is_asked_for_and_kept_in_the_tab(visit: Open, server: Server) -> None:
    key = "polystilts_of_this_test"
    error = {"code": "unauthorised", "message": "this server asks for an API key", "type": "invalid_request_error"}
    body = json.dumps({"error": {**error, "param": None, "limit": None, "given": None, "request_id": "abc"}})

    def guard(route: Route) -> None:
        """Stands before the server as its check of keys does."""
        if route.request.headers.get("authorization") == f"Bearer {key}":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/json", body=body)

    page = visit(server, "pos")
    page.route("**/v1/*", guard)
    page.reload()
    field = page.get_by_label("This server asks for an API key")
    field.fill("polystilts_wrong")
    page.get_by_role("button", name="Use it").click()
    page.wait_for_selector("#key-value:focus")
    field.fill(key)
    page.keyboard.press("Enter")
    page.wait_for_selector(".state.good")
    assert field.is_hidden() and "error" not in ask(page)
    assert "Bearer $API_KEY" in page.locator("#curl").inner_text()
    assert key not in page.content()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    page.reload()
    page.wait_for_selector(".state.good")
    page.get_by_role("button", name="forget the key").click()
    field.wait_for()
    assert page.evaluate("sessionStorage.length") == 0


def test_by_keyboard_alone(visit: Open, server: Server) -> None:
    page = visit(server, "nli")
    press = page.keyboard.press

    def focused() -> str:
        return str(page.evaluate("document.activeElement.id || document.activeElement.className"))

    def tab_to(name: str, most: int = 25) -> None:
        for _ in range(most):
            press("Tab")
            if focused() == name:
                ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert ring == "solid", f"{name} does not show its focus"
                return
        pytest.fail(f"{name} is not reached; at {focused()}")

    press("Tab")
    assert focused() == "skip"
    tab_to("tab-nli")
    press("ArrowLeft")  # round to the last
    assert focused() == "tab-align"
    press("Home")
    press("ArrowRight")
    press("ArrowRight")
    assert focused() == "tab-pos" and page.get_by_role("tab", selected=True).get_attribute("id") == "tab-pos"
    press("Tab")
    assert focused() == "chip"  # the other tabs are one stop together
    answer(page, lambda: press("Enter"))
    assert focused() == "chip"
    tab_to("field-text")
    press("Control+a")
    page.keyboard.type("Кошка спит")
    found = answer(page, lambda: press("Control+Enter"))
    assert [token["text"] for token in found["result"]["tokens"]] == ["Кошка", "спит"]
    assert "Кошка: " in spoken(page) and focused() == "field-text"
    tab_to("ask")
    assert "error" not in answer(page, lambda: press("Enter"))


UNNAMED = """() => [...document.querySelectorAll('button, input, select, textarea, [role=region], a')].filter(one =>
    !one.textContent.trim() && !one.getAttribute('aria-label') && !one.labels?.length).map(one => one.outerHTML)"""


@pytest.mark.parametrize("task", TASKS)
def test_on_a_phone(visit: Open, server: Server, task: str) -> None:
    page = visit(server, task, viewport=PHONE, has_touch=True)
    area = page.locator("textarea").first
    area.fill("Donaudampfschifffahrtsgesellschaft" * 12)
    assert "error" not in ask(page)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    top = page.locator("#answer").bounding_box()
    assert top and -1 <= top["y"] < PHONE["height"], "the answer is not in view"
    assert page.evaluate(UNNAMED) == []
    for button in page.locator(".tab, .chip, #ask").all():
        box = button.bounding_box()
        assert box and box["height"] >= 40


def test_dark_and_light(visit: Open, server: Server) -> None:
    def ink(scheme: str) -> tuple[list[float], list[float]]:
        page = visit(server, color_scheme=scheme)
        found = page.evaluate("['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])")
        paper, letters = ([float(n) for n in re.findall(r"[\d.]+", colour)[:3]] for colour in found)
        return paper, letters

    light, dark = ink("light"), ink("dark")
    assert min(light[0]) > 200 > 60 > max(light[1]) and max(dark[0]) < 60 < 200 < min(dark[1])


@pytest.mark.parametrize("width", [1280, PHONE["width"]])
def test_nothing_moves_while_it_loads(visit: Open, server: Server, width: int) -> None:
    page = visit(server, "ner", viewport={"width": width, "height": 740})
    page.wait_for_selector(".state.good")
    # The observer is silent when nothing moved.
    shift = page.evaluate("""() => new Promise(done => {
        const sum = list => done(list.getEntries().reduce((all, one) => all + one.value, 0));
        new PerformanceObserver(sum).observe({type: 'layout-shift', buffered: true});
        setTimeout(() => done(0), 500);
    })""")
    assert shift < 0.02
