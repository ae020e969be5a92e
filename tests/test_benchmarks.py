"""The page of results: each benchmark replaces its own section, and the others stay."""

from benchmarks.__main__ import replaced


def made(name: str, figure: str) -> str:
    return f"<!-- {name} -->\n## {name}\n\n{figure}\n<!-- end of {name} -->\n"


def test_a_benchmark_replaces_its_own_section_and_no_other() -> None:
    page = replaced(replaced("", "quality", made("quality", "0.7")), "server", made("server", "100"))

    again = replaced(page, "server", made("server", "200"))

    assert again == page.replace("100", "200")
    assert again.index("## server") < again.index("## quality")
