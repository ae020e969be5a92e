"""Measure what docs/dashboard.md says of speed and memory: `python -m tests.dashboard_figures`."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests import browser, servers
from tests.servers import SocketDoor

EXAMPLE, DECIDE = "Remplir avec l’exemple", "Demander la décision"
_TIMES = 7
_ROWS = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rows", type=int, default=_ROWS)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name, browser.chromium() as chromium:
        folder = Path(name)
        with (
            servers.shipped(folder, JOURNAL_URL=f"sqlite:///{folder}/journal.db") as door,
            browser.dashboard(door.url, folder / "dashboard") as url,
        ):
            _say("first useful page, warm", _pages(chromium, url))
            _say("slider to answer", _answers(chromium, url))
            _say_portfolio(chromium, url, _clients(door, folder, rows), rows)


def _say(what: str, seconds: list[float]) -> None:
    ends = f"from {min(seconds):.2f} to {max(seconds):.2f} s ({len(seconds)} times)"
    sys.stdout.write(f"{what}: median {statistics.median(seconds):.2f} s, {ends}; load {_load()}\n")


def _load() -> str:
    """How many processes want a processor at a time, and how many processors there are."""
    return f"{os.getloadavg()[0]:.0f} on {os.cpu_count()}"


def _pages(chromium: Browser, url: str) -> list[float]:
    """Of a browser that has shown the dashboard before."""
    found = []
    with browser.opened(chromium, url) as page:
        for _ in range(_TIMES + 1):
            started = time.monotonic()
            page.goto(url)
            page.get_by_role("button", name=EXAMPLE).wait_for()
            found.append(time.monotonic() - started)
    return found[1:]


def _answers(chromium: Browser, url: str) -> list[float]:
    found = []
    with browser.opened(chromium, url) as page:
        page.get_by_role("button", name=EXAMPLE).click()
        page.get_by_role("button", name=DECIDE).first.click()
        page.get_by_role("heading", name="● Fiable").wait_for()
        page.get_by_role("tab", name="Autre prêt").click()
        slider = page.get_by_role("slider", name="Crédit")
        slider.wait_for()
        slider.press("ArrowLeft")
        page.get_by_text("Avec ce prêt").wait_for()
        for _ in range(_TIMES + 1):
            browser.settled(page)
            before = _answer(page)
            started = time.monotonic()
            slider.press("ArrowLeft")
            while _answer(page) == before:
                time.sleep(0.005)
            found.append(time.monotonic() - started)
    return found[1:]


def _answer(page: Page) -> str:
    return "".join(page.get_by_text("Avec ce prêt").all_inner_texts())


def _clients(door: SocketDoor, folder: Path, rows: int) -> Path:
    """Drawn clients, each as often as it takes."""
    clients = door.get("/reference/clients?after=0&limit=500").content["clients"]
    lines = [
        ",".join("" if one is None else str(one) for one in client["features"].values()) for client in clients
    ]
    file = folder / "clients.csv"
    with file.open("w") as written:
        written.write("numero," + ",".join(clients[0]["features"]) + "\n")
        written.writelines(f"{number},{lines[number % len(lines)]}\n" for number in range(rows))
    return file


def _say_portfolio(chromium: Browser, url: str, file: Path, rows: int) -> None:
    with browser.opened(chromium, f"{url}/portfolio") as page:
        page.locator("input[type=file]").set_input_files(file)
        button = page.get_by_role("button", name="Décider pour")
        button.wait_for()
        started = time.monotonic()
        button.click()
        page.get_by_text("Télécharger en Parquet").wait_for()
        seconds = time.monotonic() - started
    sys.stdout.write(
        f"{rows} clients decided on and shown: {seconds:.1f} s, {_peak_mebibytes():.0f} MiB at most in the "
        f"dashboard's process; load {_load()}\n"
    )


def _peak_mebibytes() -> float:
    """Of the largest of our children: the dashboard, whose file and result it holds."""
    status = {
        pid: servers.read_of_process(Path(f"/proc/{pid}/status"))
        for pid in servers.descendants(int(Path("/proc/self").resolve().name))
        if "streamlit" in servers.command_line(pid)
    }
    return max(float(one.split("VmHWM:")[1].split()[0]) / 1024 for one in status.values() if "VmHWM:" in one)


if __name__ == "__main__":
    main()
