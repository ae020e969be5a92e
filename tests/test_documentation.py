"""The documentation is executed, complete and consistent with the project that it describes."""

import ast
import contextlib
import difflib
import fnmatch
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from mlflow_model import command
from mlflow_model.bundle.bundles import FILES, MANIFEST
from tests.refresh_documentation import DOCUMENTS, EXAMPLE, ROOT, refreshed
from tests.rooms import PRODUCT

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
SUPERSEDED = re.compile(r"^Status: superseded by ", re.MULTILINE)
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "docs" / "api.md",
    ROOT / "docs" / "architecture.md",
    ROOT / "docs" / "batch.md",
    ROOT / "docs" / "compliance.md",
    ROOT / "docs" / "gate.md",
    ROOT / "docs" / "journal.md",
    ROOT / "docs" / "models.md",
    ROOT / "docs" / "operations.md",
    ROOT / "docs" / "decisions" / "README.md",
    *DECISIONS,
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _text(path: Path | str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _in_force(pages: list[Path]) -> list[Path]:
    """A superseded decision may name what is gone."""
    return [page for page in pages if not (page.exists() and SUPERSEDED.search(page.read_text("utf-8")))]


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


@pytest.mark.parametrize(
    "name",
    # Each starts services and commands of its own, for a minute or so: for `make proofs`.
    [
        pytest.param(name, marks=[] if name in ("docs/batch.md", "docs/gate.md") else [pytest.mark.slow])
        for name in DOCUMENTS
    ],
)
def test_what_a_document_shows_is_what_the_project_answers(name: str) -> None:
    shown = _text(name)

    answered = refreshed(shown)

    behind = "\n".join(
        difflib.unified_diff(shown.splitlines(), answered.splitlines(), "shown", "answered", "", "", 0)
    )
    way_out = command.named_here("run python -m tests.refresh_documentation")
    assert not behind, f"{name} is behind: {way_out}\n{behind}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_request_and_no_session_of_a_document_is_left_unexecuted(name: str) -> None:
    page = _text(name)

    rest = EXAMPLE.sub("", page)

    not_run = {"python", "properties"} if name == "docs/batch.md" else set()  # of Airflow and Spark
    assert {language for language, _ in FENCE.findall(rest)} <= {"sh"} | not_run
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
        ("api/reference/errors.py", {"__init__"}),
        ("api/reviewing/errors.py", {"__init__"}),
        ("api/deciding/strict_json.py", {"BadData"}),
        ("api/deciding/content_headers.py", {"UnsupportedMediaType"}),
        ("api/deciding/many_clients.py", {"UnsupportedMediaType"}),
        ("api/deciding/formats/arrow_stream.py", {"BadData"}),
        ("api/deciding/formats/checked_columns.py", {"BadData"}),
        ("api/deciding/formats/kept_columns.py", {"BadData", "_refusal"}),
        ("api/deciding/formats/csv_rows.py", {"BadData", "BadRow"}),
        ("api/deciding/formats/json_array.py", {"BadData", "BadRow"}),
        ("api/reviewing/parameters.py", {"BadData", "BadQuestion"}),
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
    files = ("requirements.in", "requirements-serve.in", "requirements-dev.in")
    lines = [line for name in files for line in _text(name).splitlines()]
    return sorted({found[0] for line in lines if (found := re.match(r"[a-z][\w.-]*(?=[\[=])", line))})


@pytest.mark.parametrize("name", _direct_dependencies())
def test_a_direct_dependency_has_its_reason_and_its_licence(name: str) -> None:
    rows = re.findall(
        rf"^\| {re.escape(name)} \| (.+?) \| (.+?) \| (.+?) \|$", _text(_dependencies_page()), re.MULTILINE
    )
    metadata = importlib.metadata.metadata(name).json
    declared = [str(metadata.get(key)) for key in ("license_expression", "license", "classifier")]
    texts = [file for file in importlib.metadata.files(name) or [] if file.name.startswith("LICENSE")]
    declared += [file.read_text() for file in texts]

    assert len(rows) == 1
    assert rows[0][1] in " ".join(declared)


def test_no_reason_is_given_for_a_dependency_that_is_gone() -> None:
    explained = re.findall(r"^\| ([a-z][\w-]*) \| (?!reason)", _text(_dependencies_page()), re.MULTILINE)

    assert sorted(explained) == _direct_dependencies()


@pytest.mark.parametrize("name", _direct_dependencies())
def test_a_dependency_is_imported_or_its_reason_says_who_uses_it(name: str) -> None:
    product = (*PRODUCT, "register.py", "api/test_api.ipynb")
    is_for_tests = f"\n{name}" not in _text("requirements.in")
    reason = re.search(rf"^\| {re.escape(name)} \| (.+?) \|", _text(_dependencies_page()), re.MULTILINE)

    importing = _importing(*product, *(("benchmarks", "tests") if is_for_tests else ()))

    assert reason is not None
    is_used_by_another = re.match(r"(run|loaded|read) by \S", reason[1]) is not None
    assert is_used_by_another != bool(_import_names(name) & importing)


def _import_names(distribution: str) -> set[str]:
    """What a package is imported as."""
    return {
        name
        for name, by in _provided().items()
        for one in by
        if one.lower().replace("_", "-") == distribution
    }


@functools.cache
def _provided() -> Mapping[str, list[str]]:
    """Which distributions provide a name that can be imported. It reads the metadata of all: a second."""
    return importlib.metadata.packages_distributions()


@functools.cache
def _importing(*names: str) -> set[str]:
    """The top-level packages that these files, and all files in these folders, import."""
    files = [file for name in names for file in (sorted((ROOT / name).rglob("*.py")) or [ROOT / name])]
    return {module.partition(".")[0] for file in files for module in _imports_of(file)}


@functools.cache
def _imports_of(file: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(_python(file))))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return modules + [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]


def _python(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    lines = [
        line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()
    ]
    return "\n".join(line for line in lines if not line.startswith("%"))


def _dependencies_page() -> str:
    return "docs/decisions/0012-dependencies.md"


def test_the_changelog_opens_with_what_is_not_released_yet() -> None:
    headings = re.findall(r"^##+ (.+)$", _text("CHANGELOG.md"), re.MULTILINE)
    released = [
        heading for heading in headings if re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
    ]

    assert headings[0] == "[Unreleased]"
    assert released
    assert released == sorted(released, key=_version, reverse=True)
    assert {*headings[1:]} - {*released} <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def _version(heading: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", heading)[:3]]


def test_the_page_of_the_architecture_names_every_room() -> None:
    rooms = {init.parent.relative_to(ROOT).as_posix() for name in PRODUCT for init in _packages(name)}

    named = {name.rstrip("/") for name in _paths(_text("docs/architecture.md"))}

    assert rooms - named == set()


def _packages(name: str) -> list[Path]:
    return sorted((ROOT / name).rglob("__init__.py"))


def test_the_layers_on_the_page_of_the_architecture_are_those_that_import_linter_holds() -> None:
    contracts = tomllib.loads(_text("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    held = [_as_on_the_page(one["layers"]) for one in contracts if one["type"] == "layers"]
    section = _text("docs/architecture.md").partition("## Who may import whom\n")[2].partition("\n## ")[0]

    _, _, *rows = [line.split("|")[1:-1] for line in re.findall(r"^\|.*\|$", section, re.MULTILINE)]

    shown = [
        [cell.strip().replace("\\", "") for cell in column if cell.strip()]
        for column in zip(*rows, strict=True)
    ]
    assert shown == held


def _as_on_the_page(layers: list[str]) -> list[str]:
    return [", ".join(name.rpartition(".")[2] for name in layer.split(" | ")) for layer in layers]


def test_the_hooks_of_pre_commit_run_what_make_check_runs() -> None:
    check = re.search(r"^check: .*\n((?:\t.+\n)+)", _text("Makefile"), re.MULTILINE)
    configured = yaml.safe_load(_text(".pre-commit-config.yaml"))["repos"]
    hooks = [hook for repository in configured for hook in repository["hooks"]]

    assert check is not None
    assert [repository["repo"] for repository in configured] == ["local"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert [hook["entry"] for hook in hooks] == check[1].replace("\t$(BIN)", ".venv/bin").splitlines()


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


@pytest.mark.parametrize("page", _in_force(PAGES), ids=_ids(_in_force(PAGES)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = set(_paths(page.read_text(encoding="utf-8"))) - FILES - {MANIFEST}

    unknown = [name for name in named if not ((ROOT / name).exists() or _ignored(Path(name)))]

    assert unknown == []


def _paths(page: str) -> Iterator[str]:
    for code in _code(page):
        for word in re.sub(r"cd (\S+) && python ", r"python \1/", code).split():
            if re.fullmatch(r"\.?\w[\w./-]*(?:/|\.(?:py|md|svg|pkl|txt|in|yaml|toml|ipynb|json|db))", word):
                yield word


@pytest.mark.parametrize("page", _in_force(PAGES), ids=_ids(_in_force(PAGES)))
def test_every_name_in_a_module_or_a_class_that_a_page_gives_is_there(page: Path) -> None:
    named = {code for code in _code(page.read_text(encoding="utf-8")) if _DOTTED.fullmatch(code)}

    assert [name for name in sorted(named) if not _exists(name)] == []


_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+(?:\(\))?")
_FILE = re.compile(r".+\.(?:py|md|txt|in|db|pem|pkl|svg|json|toml|yaml|yml)")


def _exists(name: str) -> bool:
    """Whether there is such a thing: in our code, in a library, or as a text that our code writes."""
    if _FILE.fullmatch(name):
        return True
    first, second, *_ = name.removesuffix("()").split(".")
    if any(second in members for members in _members().get(first, ())):
        return True
    is_of_a_library = first not in _members() and importlib.util.find_spec(first) is not None
    return is_of_a_library or any(re.search(rf"[\"']{name}[\"']", text) for text in _sources().values())


@functools.cache
def _sources() -> dict[str, str]:
    """Our modules and packages, by the names that they are imported by."""
    files = [file for name in PRODUCT for file in sorted((ROOT / name).rglob("*.py"))]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return {name.removesuffix(".__init__"): _text(file) for name, file in zip(names, files, strict=True)} | {
        "register": _text("register.py")
    }


@functools.cache
def _members() -> dict[str, list[set[str]]]:
    """What our packages, modules and classes hold, by the last part of their names."""
    found: dict[str, list[set[str]]] = {}
    for module, text in _sources().items():
        inside = {other.rpartition(".")[2] for other in _sources() if other.rpartition(".")[0] == module}
        body = ast.parse(text).body
        found.setdefault(module.rpartition(".")[2], []).append(inside | _defined(body))
        for node in body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(_defined(node.body))
    return found


def _defined(body: list[ast.stmt]) -> set[str]:
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {
            name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)
        }
    return names


# A number in a page, its unit, and in brackets the constant that holds it: 90 s (`loader.ANSWER_SECONDS`).
_FIGURE = re.compile(
    r"(\d[\d,.]*)(?:\s+(s|minutes|KiB|MiB|GiB))?[^`().;\d]{0,40}\s\(`([A-Z]\w+\.\w+|\w+\.[A-Z_]+)`\)"
)
_UNITS = {"minutes": 60, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@pytest.mark.parametrize("page", _in_force(DECISIONS), ids=_ids(_in_force(DECISIONS)))
def test_a_number_beside_the_constant_that_holds_it_is_that_constant(page: Path) -> None:
    figures = _FIGURE.findall(page.read_text(encoding="utf-8"))

    stated = [(name, float(number.replace(",", "")) * _UNITS.get(unit, 1)) for number, unit, name in figures]

    assert stated == [(name, _value(name)) for name, _ in stated]


def test_the_decisions_name_the_constants_that_hold_their_numbers() -> None:
    assert sum(len(_FIGURE.findall(page.read_text(encoding="utf-8"))) for page in DECISIONS) >= 20


def _value(name: str) -> float:
    """Of a constant, or of the default of a dataclass's field."""
    first, second = name.split(".")
    modules = [
        module
        for module, text in _sources().items()
        if module.rpartition(".")[2] == first or re.search(rf"^class {first}\b", text, re.MULTILINE)
    ]
    owners = [importlib.import_module(module) for module in modules]
    values = {getattr(getattr(owner, first, owner), second, None) for owner in owners} - {None}
    (value,) = values
    assert isinstance(value, int | float)
    return value


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


@pytest.mark.parametrize("name", ["docs/api.md", "docs/compliance.md"])
def test_the_french_documentation_has_french_typography(name: str) -> None:
    page = FENCE.sub("", _text(name))
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
