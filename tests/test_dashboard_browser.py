"""The dashboard in a real browser: by keyboard alone, and as axe-core judges each page by WCAG."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests import browser, servers

EXAMPLE, DECIDE = "Remplir avec l’exemple", "Demander la décision"
TABS = ("Valeurs", "Raisons", "Parmi les autres", "Autre prêt", "Pour le client")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("browser")
    with (
        servers.shipped(folder, JOURNAL_URL=f"sqlite:///{folder}/journal.db") as door,
        browser.dashboard(door.url, folder / "dashboard") as url,
    ):
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as opened:
        yield opened


def go_to(page: Page, label: str) -> None:
    """Press Tab until this button has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == label:
            return
    raise AssertionError(f"Tab never comes to {label}")


def test_a_decision_is_asked_for_by_keyboard_alone(address: str, chromium: Browser) -> None:
    with browser.opened(chromium, address) as page:
        page.get_by_role("button", name=EXAMPLE).wait_for()
        go_to(page, EXAMPLE)
        page.keyboard.press("Enter")
        page.get_by_text("ce client n’existe pas").wait_for()
        go_to(page, DECIDE)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="● Fiable").wait_for()
        language = page.evaluate("document.documentElement.lang")
        titles = page.get_by_role("heading", level=1).all_inner_texts()

    assert language == "fr"
    assert titles == ["Décision"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", browser.WIDTHS)
def test_no_page_fails_an_important_rule_of_wcag(
    address: str, chromium: Browser, width: int, scheme: str
) -> None:
    found = {}
    for name in ("", "portfolio", "review", "model"):
        with browser.opened(chromium, f"{address}/{name}", width, scheme) as page:
            found[name] = browser.violations(page)
    with browser.opened(chromium, address, width, scheme) as page:
        page.get_by_role("button", name=EXAMPLE).click()
        page.get_by_role("button", name=DECIDE).click()
        page.get_by_role("heading", name="● Fiable").wait_for()
        for tab in TABS:
            page.get_by_role("tab", name=tab).click()
            browser.settled(page)
            found[tab] = browser.violations(page)

    assert {name: one for name, one in found.items() if one} == {}
