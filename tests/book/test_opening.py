"""The opening page and the table of contents agree with the pages they lead to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kdlib.book.execute import read_notebook
from kdlib.book.notebooks import list_notebooks
from kdlib.claims import all_claims
from kdlib.claims.rule import RULE

pytestmark = pytest.mark.usefixtures("bare_claims")
ROOT = Path(__file__).resolve().parents[2]
INTRO = (ROOT / "book/intro.md").read_text(encoding="utf-8")
CARDS = re.findall(r"^:::\{grid-item-card\} (.+)\n:link: (\S+)$", INTRO, re.MULTILINE)
NOTEBOOKS = [path.stem for path in list_notebooks(ROOT / "notebooks")]
CHAPTERS = [ROOT / "book" / name for name in ("intro.md", "han2023.md", "cheng2020.md", "using.md", "extending.md")]


def title_of(link: str) -> str:
    """The first heading of the page that a link of the opening page leads to."""
    if link.startswith("../notebooks/"):
        notebook = read_notebook(ROOT / f"notebooks/{Path(link).name}.ipynb")
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    else:
        text = (ROOT / f"book/{link}.md").read_text(encoding="utf-8")
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1]


@pytest.mark.parametrize(("title", "link"), CARDS, ids=[link for _, link in CARDS])
def test_a_card_is_called_like_its_page(title, link):
    assert title == title_of(link)


def test_every_chapter_has_a_card_and_a_line_of_what_it_found_in_the_order_of_the_contents():
    listed = re.findall(r"'file': '([^']+)'", str(yaml.safe_load((ROOT / "_toc.yml").read_text())))
    chapters = [Path(name).name for name in listed if name.startswith("notebooks/")]
    assert sorted(chapters) == sorted(NOTEBOOKS)
    assert [Path(link).name for _, link in CARDS if link.startswith("../notebooks/")] == chapters
    assert re.findall(r"^<!-- found: (\w+) -->$", INTRO, re.MULTILINE) == chapters


def test_each_paper_s_page_carries_its_name():
    for key in dict.fromkeys(claim.paper.key for claim in all_claims().values()):
        author, year = re.fullmatch(r"([a-z]+)(\d{4})", key).groups()
        assert title_of(key) == f"{author.capitalize()} et al. {year} in brief"


def test_links_to_chapters_are_called_like_them():
    for path in CHAPTERS:
        for text, name in re.findall(r"\[([^\]]+)\]\(\.\./notebooks/(\w+)\.ipynb\)", path.read_text(encoding="utf-8")):
            assert text.lower() == title_of(f"../notebooks/{name}").lower(), path.name


def prose_of(path: Path) -> str:
    """The text of a page: of a notebook its Markdown."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n".join(cell.source for cell in read_notebook(path).cells if cell.cell_type == "markdown")


def test_every_term_that_a_page_links_to_is_in_the_glossary():
    text = (ROOT / "book/glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^```\{glossary\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    terms = {line for entry in entries for line in entry.splitlines() if line and not line.startswith(" ")}
    assert {"seed", "arm", "interval", "inconclusive"} <= terms
    assert len(terms) == sum(len([line for line in e.splitlines() if line and line[0] != " "]) for e in entries)
    for path in (*CHAPTERS, *list_notebooks(ROOT / "notebooks")):
        for role in re.findall(r"\{term\}`([^`]+)`", prose_of(path)):
            target = re.search(r"<(.+)>$", role)
            assert (target[1] if target else role) in terms, f"{path.name}: {role}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_chapter_links_to_the_glossary_and_to_some_of_its_terms(name):
    text = prose_of(ROOT / f"notebooks/{name}.ipynb")
    assert "[glossary](../book/glossary.md)" in text  # also where the roles of the book are not read, as in JupyterLab
    assert len(set(re.findall(r"\{term\}`([^`]+)`", text))) >= 4


def test_the_glossary_gives_the_rule_of_verdicts_in_its_own_words():
    text = " ".join((ROOT / "book/glossary.md").read_text(encoding="utf-8").split())
    for word, rule in RULE.items():
        assert f"{word} A verdict: {rule}." in text
