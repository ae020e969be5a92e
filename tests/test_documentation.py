"""The documentation is executed, complete and consistent with the project that it describes."""

import ast
import contextlib
import difflib
import fnmatch
import functools
import importlib.metadata
import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mlflow_model.bundle import FILES, MANIFEST
from tests.refresh_documentation import DOCUMENTS, EXAMPLE, ROOT, refreshed

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "docs" / "api.md",
    ROOT / "docs" / "operations.md",
    ROOT / "docs" / "decisions" / "README.md",
    *DECISIONS,
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _text(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _ids(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def _code(page: str) -> Iterator[str]:
    """Every inline code and every command of the fences."""
    for language, content in FENCE.findall(page):
        if language == "sh":
            yield from content.splitlines()
        elif language == "console":
            yield from re.findall(r"^\$ (.+)$", content, re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", page))


# ---- Executed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_shows_is_what_the_project_answers(name: str) -> None:
    shown = _text(name)

    answered = refreshed(shown)

    behind = "\n".join(
        difflib.unified_diff(shown.splitlines(), answered.splitlines(), "shown", "answered", "", "", 0)
    )
    assert not behind, f"{name} is behind: run python -m tests.refresh_documentation\n{behind}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_request_and_no_session_of_a_document_is_left_unexecuted(name: str) -> None:
    page = _text(name)

    rest = EXAMPLE.sub("", page)

    assert {language for language, _ in FENCE.findall(rest)} <= {"sh"}
    assert not re.search(r"<!-- (executed|generated)", rest)


def test_the_documents_hold_the_examples_that_a_reader_needs() -> None:
    kinds = [match.lastgroup for name in DOCUMENTS for match in EXAMPLE.finditer(_text(name))]
    rows = [match["requests"] for match in EXAMPLE.finditer(_text("docs/api.md")) if match["requests"]]

    assert set(kinds) == {"prose", "console", "pycon", "requests", "models", "generated"}
    assert kinds.count("prose") >= 5
    assert "".join(rows).count("\n") >= 24


def test_an_answer_that_the_project_does_not_give_is_noticed() -> None:
    document = "```console\n$ python register.py --pickle absent.pkl\nTout va bien.\n```\n"

    answered = refreshed(document)

    assert "Tout va bien." not in answered
    assert "Le fichier Pickle 'absent.pkl' est introuvable.\n```" in answered


# ---- Complete ----------------------------------------------------------------------------------------------


def test_the_sections_of_the_french_documentation_come_in_the_agreed_order() -> None:
    sections = re.findall(r"^## (.+)$", _text("docs/api.md"), re.MULTILINE)

    assert sections == [
        "Introduction",
        "Architecture",
        "Installation",
        "Point d’entrée",
        "Erreurs",
        "Fichiers",
        "Tests",
    ]


def _sentences(module: str, callees: set[str]) -> list[str]:
    """The constant parts of the texts that a module hands to these classes."""
    calls = (node for node in ast.walk(ast.parse(_text(module))) if isinstance(node, ast.Call))
    chosen = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) in callees]
    constants = (node for call in chosen for argument in call.args for node in ast.walk(argument))
    texts = {
        node.value for node in constants if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return sorted(text.strip() for text in texts if len(text) > 4)


@pytest.mark.parametrize(
    ("module", "callees"),
    [
        ("mlflow_model/errors.py", {"__init__"}),
        ("api/strict_json.py", {"BadData"}),
        ("api/predict.py", {"BadData", "UnsupportedMediaType"}),
        ("api/batch.py", {"UnsupportedMediaType"}),
        ("api/batch_arrow.py", {"BadData"}),
        ("api/batch_columns.py", {"BadData"}),
        ("api/batch_csv.py", {"BadData", "BadRow"}),
        ("api/batch_json.py", {"BadData", "BadRow"}),
    ],
)
def test_every_french_sentence_is_in_the_documentation(module: str, callees: set[str]) -> None:
    page = _text("docs/api.md")

    sentences = _sentences(module, callees)

    assert sentences
    assert [sentence for sentence in sentences if sentence not in page] == []


@pytest.mark.parametrize("page", DECISIONS, ids=_ids(DECISIONS))
def test_a_decision_gives_its_status_context_reason_and_consequence(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert text.startswith(f"# {page.name[:4]}. ")
    assert re.search(r"^Status: .+\.$", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Why", "Consequence"]


def test_the_index_lists_every_decision_with_its_title_and_status() -> None:
    index = re.findall(
        r"^\| \[(\d{4})\]\((.+?)\) \| (.+?) \| (.+?) \|$", _text("docs/decisions/README.md"), re.MULTILINE
    )

    assert [name for _, name, _, _ in index] == [page.name for page in DECISIONS]
    assert [int(number) for number, *_ in index] == list(range(1, len(DECISIONS) + 1))
    for number, name, title, status in index:
        assert _text(f"docs/decisions/{name}").startswith(f"# {number}. {title}\n\nStatus: {status}.\n")


def _direct_dependencies() -> list[str]:
    lines = (_text("requirements.in") + _text("requirements-dev.in")).splitlines()
    return [found[0] for line in lines if (found := re.match(r"[a-z][\w.-]*(?=[\[=])", line))]


@pytest.mark.parametrize("name", _direct_dependencies())
def test_a_direct_dependency_has_its_reason_and_its_licence(name: str) -> None:
    rows = re.findall(
        rf"^\| {re.escape(name)} \| (.+?) \| (.+?) \| (.+?) \|$", _text(_dependencies_page()), re.MULTILINE
    )
    metadata = importlib.metadata.metadata(name).json
    declared = [str(metadata.get(key)) for key in ("license_expression", "license", "classifier")]

    assert len(rows) == 1
    assert rows[0][1] in " ".join(declared)


def test_no_reason_is_given_for_a_dependency_that_is_gone() -> None:
    explained = re.findall(r"^\| ([a-z][\w-]*) \| (?!reason)", _text(_dependencies_page()), re.MULTILINE)

    assert sorted(explained) == sorted(_direct_dependencies())


def _dependencies_page() -> str:
    return "docs/decisions/0012-dependencies.md"


def test_the_changelog_opens_with_what_is_not_released_yet() -> None:
    headings = re.findall(r"^##+ (.+)$", _text("CHANGELOG.md"), re.MULTILINE)

    assert headings[0] == "[Unreleased]"
    assert set(headings[1:]) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


# ---- Consistent with the files -----------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))

    broken = [link for link in links if not link.startswith("https://") and not _resolves(page, link)]

    assert broken == []


def _resolves(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in _anchors(target.read_text(encoding="utf-8")))


def _anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = set(_paths(page.read_text(encoding="utf-8"))) - FILES - {MANIFEST}

    unknown = [name for name in named if not ((ROOT / name).exists() or _ignored(Path(name)))]

    assert unknown == []


def _paths(page: str) -> Iterator[str]:
    for code in _code(page):
        for word in re.sub(r"cd (\S+) && python ", r"python \1/", code).split():
            if re.fullmatch(r"\.?\w[\w./-]*(?:/|\.(?:py|md|svg|pkl|txt|in|yaml|toml|ipynb|json|db))", word):
                yield word


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_every_make_target_that_a_page_names_is_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", _text("Makefile"), re.MULTILINE))

    named = {
        target
        for code in _code(page.read_text(encoding="utf-8"))
        for target in re.findall(r"\bmake ([a-z]+)", code)
    }

    assert named <= targets


def test_the_picture_draws_solid_what_is_built_and_dashed_what_is_planned() -> None:
    texts = ElementTree.parse(ROOT / "docs" / "line.svg").iterfind(".//{http://www.w3.org/2000/svg}text")  # noqa: S314
    folders = {text.text: text.get("class") for text in texts if text.text and text.text.endswith("/")}

    built = {name for name in folders if any((ROOT / name).glob("*.py"))}

    assert {name for name, kind in folders.items() if kind == "name"} == built
    assert {"training/", "api/", "dashboard/"} <= built


# ---- Typography and what must not be in a file -------------------------------------------------------------


def test_the_french_documentation_has_french_typography() -> None:
    page = FENCE.sub("", _text("docs/api.md"))
    prose = re.sub(r"`[^`\n]+`|<!--.*?-->|https?://\S+|!?\[|\]\([^)]*\)", "", page, flags=re.DOTALL)

    faults = re.findall(
        r".{0,30}(?:[^\u00a0\s|][;!?»]|[^\u00a0\s|\d]:(?!--)|[ \n][;:!?»]|«[^\u00a0]|['\"]).{0,10}", prose
    )

    assert faults == []


def _ignored(path: Path) -> bool:
    patterns = [line.rstrip("/") for line in _text(".gitignore").splitlines() if line]
    return any(fnmatch.fnmatch(part, pattern) for part in path.parts for pattern in (".git", *patterns))


@functools.cache
def _files() -> dict[str, str]:
    """The project's text files, by name."""
    found = {}
    for folder, folders, names in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        folders[:] = [name for name in folders if not _ignored(here / name)]
        for name in names:
            if not _ignored(here / name):
                with contextlib.suppress(UnicodeDecodeError):
                    found[(here / name).as_posix()] = (ROOT / here / name).read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize(
    "forbidden",
    [
        pytest.param(r"(?<![\w.:/\\-])/(?:home|root|Users|work|mnt)/\w", id="a path of one machine"),
        pytest.param(r"https?://[\w.:-]*(?:pypi|pythonhosted)", id="a package index"),
        pytest.param(r"--(?:extra-)?index-url[ =]\S", id="an option that names an index"),
    ],
)
def test_no_file_holds(forbidden: str) -> None:
    pattern = re.compile(forbidden)

    found = [name for name, text in _files().items() if pattern.search(text)]

    assert found == []
