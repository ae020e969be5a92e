"""Take the pictures of docs/dashboard.md: `python -m tests.dashboard_screenshots`. Its clients are all drawn.

It needs Debian's Chromium, and takes a minute or two. Another folder, width and scheme show the pages as
others have them: `python -m tests.dashboard_screenshots model --folder pictures --width 400 --scheme dark`.
"""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests import browser, servers
from tests.servers import JSON, ROOT, SocketDoor

FOLDER = ROOT / "docs" / "images"
PAGES = ("decision", "others", "portfolio", "review", "model")
_CLIENTS = 500  # of the portfolio
_CASES = 3  # that wait for a person


def main() -> None:
    asked = _arguments()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, _service(Path(name)) as door, browser.chromium() as chromium:
        clients = door.get(f"/reference/clients?after=0&limit={_CLIENTS}").content["clients"]
        _await_reviews(door, clients)
        with browser.dashboard(door.url, Path(name) / "dashboard") as url:
            for page_name in asked.pages:
                _take(chromium, url, page_name, clients, asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("pages", nargs="*", default=PAGES, help=" ".join(PAGES))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--width", type=int, default=browser.DESKTOP)
    parser.add_argument("--height", type=int, default=1_200)
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    return parser.parse_args()


@contextmanager
def _service(folder: Path) -> Iterator[SocketDoor]:
    """With a registry, so that the version has a history, and a journal."""
    environment = servers.registry_in(folder) | {"JOURNAL_URL": f"sqlite:///{folder}/journal.db"}
    command = [sys.executable, "register.py"]
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True, capture_output=True)
    with servers.api(environment, folder / "log") as door:
        servers.ready(door)
        yield door


def _await_reviews(door: SocketDoor, clients: list[dict]) -> None:
    for one in [one for one in clients if one["label"] == "grey"][:_CASES]:
        reference = {"X-Client-Reference": f"client fictif {one['number']}"}
        door.send("POST", "/predict", json.dumps(one["features"]).encode(), JSON | reference)


def _take(chromium: Browser, url: str, name: str, clients: list[dict], asked: argparse.Namespace) -> None:
    address = f"{url}/{'' if name in ('decision', 'others') else name}"
    with browser.opened(chromium, address, asked.width, asked.scheme) as page:
        page.set_viewport_size({"width": asked.width, "height": asked.height})
        _PREPARED[name](page, clients)
        browser.settled(page)
        page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
        page.wait_for_timeout(1_000)  # until what is new has its full colour
        page.screenshot(path=asked.folder / f"dashboard-{name}.png")


def _decide(page: Page) -> None:
    page.get_by_role("button", name="Client fictif").click()
    page.get_by_role("button", name="Le suivant\u00a0: ▲ Risqué").click()
    page.get_by_text("il n’existe pas").first.wait_for()
    page.get_by_role("button", name="Demander la décision").first.click()
    page.get_by_role("heading", name="▲ Risqué").wait_for()


def _decision(page: Page, _: list[dict]) -> None:
    _decide(page)
    page.get_by_role("tab", name="Raisons").click()
    page.get_by_text("Ce que chaque valeur ajoute").wait_for()


def _others(page: Page, _: list[dict]) -> None:
    _decide(page)
    page.get_by_role("tab", name="Parmi les autres").click()
    page.get_by_text("Deux valeurs ensemble").wait_for()
    _show(page, "Une valeur parmi celles des autres")


def _portfolio(page: Page, clients: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["numero", *clients[0]["features"]])
    writer.writerows([one["number"], *one["features"].values()] for one in clients)
    file = {"name": "clients-fictifs.csv", "mimeType": "text/csv", "buffer": text.getvalue().encode()}
    page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Décider pour").click()
    page.get_by_text("Télécharger en Parquet").wait_for()
    _show(page, "Décisions")


def _review(page: Page, _: list[dict]) -> None:
    page.get_by_text("Accorder le crédit").wait_for()


def _model(page: Page, clients: list[dict]) -> None:
    page.get_by_role("heading", name="Historique").wait_for()
    for _ in range(8):
        page.get_by_role("slider").press("ArrowRight")
    page.get_by_text("auraient une autre décision").wait_for()
    _show(page, "Un autre seuil, sur le papier")


def _show(page: Page, heading: str) -> None:
    """Scroll to it, where the rest of the page does not fit."""
    page.get_by_role("heading", name=heading, exact=True).evaluate("one => one.scrollIntoView()")


_PREPARED: dict[str, Callable[[Page, list[dict]], None]] = {
    "decision": _decision,
    "others": _others,
    "portfolio": _portfolio,
    "review": _review,
    "model": _model,
}

if __name__ == "__main__":
    main()
