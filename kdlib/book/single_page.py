"""One HTML page of one executed notebook, complete in itself: no other host is asked for anything.

nbconvert's own template names public hosts for its scripts. Here its blocks are replaced by the copies kept under
`book/_static`, written into the page, and only where the notebook needs them (formulas, widgets).
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import nbformat

_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{{ resources.kdlib_head }}{%- endblock html_head_js -%}
{%- block jupyter_widgets -%}{%- endblock jupyter_widgets -%}
{%- block html_head_js_mathjax -%}{%- endblock html_head_js_mathjax -%}
{%- block html_head_js_mermaidjs -%}{%- endblock html_head_js_mermaidjs -%}
{%- block codecell -%}
{%- if 'hide-cell' in cell.metadata.get('tags', []) -%}
<details><summary>Show</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock codecell -%}
{%- block data_png scoped -%}
{%- set alt = output | get_metadata('alt', 'image/png') -%}
{%- if alt -%}
{{ super() | replace('<img src=', '<img alt="' ~ (alt | escape_html) ~ '" src=', 1) }}
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock data_png -%}
"""
# What widgets hold, as JSON. A browser takes `<!--<script` within it, such as in the name of a class, for the beginning
# of a script whose end it then looks for; written as a number, the sign is the same to JSON and nothing to a browser.
_WIDGETS = re.compile(
    r"(<script type=.application/vnd\.jupyter\.widget-(?:state|view)\+json.>)(.*?)(</script>)", re.DOTALL
)
# nbconvert parses each piece of HTML by itself and closes what it leaves open, so that a fold would hold nothing. Its
# ends go through as text.
_FOLD_BEGINS = re.compile(r"<details\b[^>]*>\s*<summary>.*?</summary>", re.DOTALL)
_FOLD_ENDS = "</details>"
_IN_THEIR_PLACE = "kdlib-fold-{}"
_DELIMITERS = {"inlineMath": [["$", "$"], ["\\(", "\\)"]], "displayMath": [["$$", "$$"], ["\\[", "\\]"]]}


def has_widgets(notebook: nbformat.NotebookNode) -> bool:
    """Whether the notebook carries widget state (papermill keeps it when a cell showed a widget)."""
    return bool(notebook.metadata.get("widgets"))


def has_formulas(notebook: nbformat.NotebookNode) -> bool:
    """Whether any text cell holds a formula."""
    return any(cell.cell_type == "markdown" and ("$" in cell.source or "\\(" in cell.source) for cell in notebook.cells)


def _inline(script: str, attributes: str = "") -> str:
    return f"<script{attributes}>" + script.replace("</script", "<\\/script") + "</script>\n"


def scripts_for(notebook: nbformat.NotebookNode, static: Path) -> str:
    """The script elements this notebook's page needs, their whole text inside them.

    `static` is the folder of vendored scripts (`book/_static`); a missing one yields a page without live formulas and
    widgets, which is what an installation without the repository can give.
    """
    parts = []
    if has_formulas(notebook) and (static / "mathjax/tex-svg.js").is_file():
        # The menu would load accessibility modules from elsewhere.
        config = {"tex": _DELIMITERS, "options": {"enableMenu": False}}
        parts.append(_inline(f"window.MathJax = {json.dumps(config)};"))
        parts.append(_inline((static / "mathjax/tex-svg.js").read_text(encoding="utf-8")))
    widgets = static / "widgets"
    if has_widgets(notebook) and widgets.is_dir():
        # anywidget's bundle is an anonymous module: require.js takes it only from an address, here one in memory.
        anywidget = json.dumps((widgets / "anywidget.js").read_text(encoding="utf-8"))
        parts.append(_inline((widgets / "require.js").read_text(encoding="utf-8")))
        parts.append(
            _inline(
                "requirejs.config({paths: {anywidget: URL.createObjectURL(new Blob(["
                + anywidget
                + "], {type: 'text/javascript'}))}});"
            )
        )
        embed = (widgets / "embed-amd.js").read_text(encoding="utf-8")
        parts.append(_inline(embed, ' data-jupyter-widgets-cdn="./no-cdn/"'))
    return "".join(parts)


def without_roles(text: str) -> str:
    """Markdown with the book's own marks in plain words: this page has no glossary and no list of references.

    >>> without_roles("{cite:t}`han2023` count {term}`detectors <detector>` of each {term}`unit`.")
    '[Han 2023] count detectors of each unit.'
    """
    text = re.sub(r"\{term\}`([^`<]+?)(?:\s*<[^`]*>)?`", r"\1", text)
    return re.sub(r"\{cite:\w+\}`([^`]+)`", lambda found: f"[{'; '.join(map(_reference, found[1].split(',')))}]", text)


def _reference(key: str) -> str:
    name, year = re.fullmatch(r"\s*(\D*)(\d*)\w*\s*", key).groups()  # type: ignore[union-attr]
    return f"{name.capitalize()} {year}".strip()


def _hidden(markdown: str, folds: list[str]) -> str:
    """Markdown in which a paragraph of its own stands for each beginning and each end of a fold, filed in `folds`."""

    def file(html: str) -> str:
        folds.append(html)
        return f"\n\n{_IN_THEIR_PLACE.format(len(folds) - 1)}\n\n"

    opened = _FOLD_BEGINS.sub(lambda found: file(found[0]), markdown)
    return opened.replace(_FOLD_ENDS, file(_FOLD_ENDS)) if _FOLD_ENDS in opened else opened


def write_page(notebook: nbformat.NotebookNode, title: str, static: Path) -> str:
    """Return the HTML of an executed notebook as one self-contained page.

    Cells tagged `remove-cell` are left out and those tagged `hide-cell` (solutions) are folded, as in the book.
    """
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    notebook = copy.deepcopy(notebook)
    folds: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _hidden(without_roles(cell.source), folds)
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                output.data["text/markdown"] = _hidden("".join(output.data["text/markdown"]), folds)
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"kdlib.html.j2": _TEMPLATE})],
        template_file="kdlib.html.j2",
        embed_images=True,
        config=Config(TagRemovePreprocessor={"enabled": True, "remove_cell_tags": {"remove-cell"}}),
    )
    resources = {"metadata": {"name": title}, "kdlib_head": scripts_for(notebook, static)}
    body, _ = exporter.from_notebook_node(notebook, resources=resources)
    for number, html in enumerate(folds):
        body = body.replace(f"<p>{_IN_THEIR_PLACE.format(number)}</p>", html)
    return _WIDGETS.sub(lambda found: found[1] + found[2].replace("<", "\\u003c") + found[3], body)
