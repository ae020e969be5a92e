"""What the tests of every page of the dashboard do: show a page, press a button, read what is said."""

import functools
import re

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from tests.servers import ROOT

# Each AppTest would look for components in all that is installed, which takes as long as showing a page.
manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
APP = ROOT / "dashboard" / "app.py"


def page(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """A page of `dashboard/screens`, by its name, reached through the entry as an officer does."""
    monkeypatch.setenv("API_URL", url)
    shown = AppTest.from_file(str(APP), default_timeout=60).run()
    if name != "decision":
        shown = shown.switch_page(f"screens/{name}.py").run()
    return unbroken(shown)


def press(shown: AppTest, label: str) -> AppTest:
    button = next(button for button in shown.button if button.label == label)
    return unbroken(button.click().run())


def unbroken(shown: AppTest) -> AppTest:
    assert not shown.exception
    return shown


def told(shown: AppTest) -> list[str]:
    """Every sentence in a coloured box."""
    return [box.value for box in [*shown.error, *shown.warning, *shown.info, *shown.success]]


def plain(text: str) -> str:
    """As a person reads it: with ordinary spaces, and without the backslashes of Markdown."""
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text.replace("\u00a0", " ").replace("\u202f", " "))
