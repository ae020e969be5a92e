"""The dashboard in a real browser: by keyboard alone, in French, and as axe-core judges each page by WCAG."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard import svg
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
        page.get_by_text("il n’existe pas").wait_for()
        go_to(page, DECIDE)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="● Fiable").wait_for()
        language = page.evaluate("document.documentElement.lang")
        titles = page.get_by_role("heading", level=1).all_inner_texts()

    assert language == "fr"
    assert titles == ["Décision"]


ENGLISH = (
    "Upload|Browse|Drag and|per file|Skip to|Help for|password|sidebar|Sidebar|heading|crement|Choose|Open$"
)
SPOKEN = """() => [...document.querySelectorAll('*')].flatMap((one) => [
  ...['aria-label', 'title', 'placeholder'].map((name) => one.getAttribute(name)),
  ...(one.closest('script, style, noscript') ? [] : [...one.childNodes]
    .filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.nodeValue)),
]).filter((text) => text && text.trim())"""


def english(page: Page) -> list[str]:
    """What is seen or read aloud on this page in Streamlit's own words."""
    return [text for text in page.evaluate(SPOKEN) if re.search(ENGLISH, text.strip())]


def test_streamlit_s_own_words_are_french(address: str, chromium: Browser, tmp_path: Path) -> None:
    with browser.opened(chromium, address) as page:
        page.get_by_role("button", name="Client fictif").click()
        page.get_by_role("button", name="Augmenter").wait_for()
        assert english(page) == []
        page.get_by_label("Aide\u00a0: Jeton d’accès").wait_for()
    clients = tmp_path / "8.5KB.csv"
    clients.write_bytes(b"a,b\n" + b"1,2\n" * 2_000)
    with browser.opened(chromium, f"{address}/portfolio") as page:
        page.get_by_text("200\u00a0Mo par fichier").wait_for()
        page.locator("input[type=file]").set_input_files(clients)
        page.get_by_text(re.compile(r"^[78](,[0-9])?\sko$")).wait_for()
        page.get_by_label("Retirer 8.5KB.csv").wait_for()
        assert english(page) == []


def test_the_choice_of_a_fictitious_client_closes_its_window(address: str, chromium: Browser) -> None:
    with browser.opened(chromium, address) as page:
        page.get_by_role("button", name="Client fictif").click()
        page.get_by_role("button", name="Le suivant\u00a0: ● Fiable").click()
        page.get_by_text("Client fictif\u00a0: il n’existe pas").wait_for()

        page.get_by_role("button", name="Le suivant\u00a0: ● Fiable").wait_for(state="hidden")


def test_the_decision_stays_in_sight_while_the_values_are_read(address: str, chromium: Browser) -> None:
    with browser.opened(chromium, address, browser.LAPTOP) as page:
        page.get_by_role("button", name=EXAMPLE).click()
        page.get_by_role("button", name=DECIDE).click()
        decision = page.get_by_role("heading", name="● Fiable")
        decision.wait_for()

        page.get_by_text("Ce qui s’en déduit").scroll_into_view_if_needed()

        expect(decision).to_be_in_viewport(ratio=1)
        expect(page.get_by_role("button", name=EXAMPLE)).not_to_be_in_viewport()


def test_words_over_marks_have_a_halo_in_the_colour_of_the_ground(address: str, chromium: Browser) -> None:
    for scheme in ("light", "dark"):
        with browser.opened(chromium, address, scheme=scheme) as page:
            ground = page.evaluate(
                "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
            )
            page.set_content(svg.picture("", [svg.text(9, 9, "mot", is_over_marks=True)], 90, 90, 19))
            halo = page.evaluate("getComputedStyle(document.querySelector('.halo')).stroke")
        assert halo == ground


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
