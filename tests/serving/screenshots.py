"""Pictures of the page for the documentation: ``python -m tests.serving.screenshots [MODELS]``.

Needs Chromium and fonts for the scripts shown (Debian: fonts-noto-core, fonts-noto-cjk). MODELS is the models folder,
by default that of the last job.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from pipelines.serve import start_server

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def open_page(browser: Browser, url: str, width: int, height: int, **options: str) -> Page:
    """The page on a window of that size, its models known."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".state.good")
    return page


def answered(page: Page, example: str) -> None:
    """Chooses an example and waits for its answer."""
    page.get_by_role("button", name=example).first.click()
    page.wait_for_selector("#answer .round")
    with page.expect_response("**/v1/*"):  # the second time, as it is when the server is warm
        page.click("#ask")
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)


def main(models: Path) -> None:
    with start_server(models) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = open_page(browser, f"{server.url}/#align", 1180, 940)
        answered(page, "Hindi")
        page.screenshot(path=DOCS / "page.png")
        page = open_page(browser, f"{server.url}/#qa", 360, 740, color_scheme="dark")
        answered(page, "Chinese")
        page.screenshot(path=DOCS / "page-phone.png", full_page=True)
        page = open_page(browser, f"{server.url}/#choice", 1180, 860)
        answered(page, "Russian")
        page.fill("#field-choices-1", "Петер зарабатывает деньги. " * 900)
        page.click("#ask")
        page.wait_for_selector(".problem")
        page.screenshot(path=DOCS / "page-error.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "outputs" / "models")
