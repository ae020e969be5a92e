"""A real browser before the dashboard, as an officer has it: Debian's Chromium, driven by Playwright."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests import servers
from tests.neighbours import program

WIDTHS = DESKTOP, LAPTOP, TELEPHONE = (1400, 1024, 400)
_HEIGHT = 800
_SECONDS = 60.0
_FADING_MILLISECONDS = 1_200  # until what is new on a page has its full colour, also on a busy machine
# A process that runs as root can have no sandbox of its own. Nothing is asked of the world outside.
_OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@contextmanager
def dashboard(api_url: str, log: Path) -> Iterator[str]:
    """The address of a dashboard that asks this API."""
    port = servers.free_port()
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.headless", "true"]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port)]
    command += ["--browser.gatherUsageStats", "false", "--client.toolbarMode", "minimal"]
    with log.open("wb") as said:
        child = subprocess.Popen(
            command, cwd=servers.ROOT, env=os.environ | {"API_URL": api_url}, stdout=said, stderr=said
        )
    try:
        servers.eventually(lambda: _is_healthy(port) or None, "the dashboard")
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(_SECONDS)


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=[*_OPTIONS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, address: str, width: int = DESKTOP, scheme: str = "light") -> Iterator[Page]:
    """A page of the dashboard, once its title is there. `scheme`: light or dark."""
    page = browser.new_page(
        viewport={"width": width, "height": _HEIGHT},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="fr-FR",
    )
    page.set_default_timeout(1_000 * _SECONDS)
    try:
        page.goto(address)
        page.get_by_role("heading", level=1).first.wait_for()
        settled(page)
        yield page
    finally:
        page.close()


def settled(page: Page) -> None:
    """Wait until Streamlit computes nothing any more."""
    page.wait_for_function(
        "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
    )


def violations(page: Page) -> list[str]:
    """What axe-core calls serious or critical: the rule, and the elements."""
    page.wait_for_timeout(_FADING_MILLISECONDS)
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
