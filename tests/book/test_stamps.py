"""Stamps: what they depend on, what they do not, and when they fit."""

from __future__ import annotations

import copy

import nbformat
import pytest

from kdlib.book.stamps import WIDGET_STATE, WIDGET_VIEW, code_of_cells, fingerprint, read_stamp, source_of, why_not

FILES = {
    "__init__.py": "",
    "errors.py": "class E(Exception): pass",
    "measure.py": "from kdlib.helper import h\n\n\ndef m():\n    return h()\n",
    "helper.py": 'from kdlib.errors import E\n\n\ndef h():\n    """Says one."""\n    return 1  # one\n',
    "unrelated.py": "x = 1",
    "widgets/__init__.py": "from kdlib.widgets.one import One\nfrom kdlib.widgets.two import Two\n",
    "widgets/one.py": "class One: pass",
    "widgets/one.js": "one",
    "widgets/two.py": "class Two: pass",
    "widgets/two.js": "two",
    "widgets/common.css": "shared",
    "distill/__init__.py": "",
    "distill/kd.py": "def build_kd(): pass",
    "distill/ft.py": "def build_ft(): pass",
    "distill/catalogue.py": "from kdlib.distill.kd import build_kd\nfrom kdlib.distill.ft import build_ft\n"
    'METHODS = {"kd": (build_kd, 1), "ft": build_ft}\n',
    "papers/__init__.py": "",
    "papers/p/__init__.py": "",
    "papers/p/study.py": 'METHOD = "kd"',
    "papers/p/claims.toml": "claim = 1",
    "papers/q/__init__.py": "",
    "papers/q/claims.toml": "claim = 2",
    "cohort/__init__.py": "",
    "cohort/networks.py": "def load_networks(): pass",
    "cohort/premise.py": "def read_premise(): pass",
    "cohort/premise.json": "[1]",
    "cohort/published/toy/index.json": "{}",
    "cohort/published/toy/kd.0-3.safetensors": "weights",
}


@pytest.fixture
def package(tmp_path):
    """A small kdlib."""
    root = tmp_path / "kdlib"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


class TestSource:
    def test_is_what_is_imported_directly_or_not(self, package):
        assert set(source_of("from kdlib.measure import m", package)) == {"kdlib.measure", "kdlib.helper"}

    def test_of_a_package_that_hands_on_names_is_the_part_that_is_named_with_its_files(self, package):
        found = source_of("from kdlib.widgets import One", package)
        assert set(found) == {"kdlib.widgets.one", "widgets/one.js", "widgets/common.css"}

    def test_holds_the_method_that_a_study_names_and_no_other_one(self, package):
        found = set(source_of("from kdlib.papers.p.study import METHOD", package))
        assert {"kdlib.papers.p.study", "kdlib.distill.kd", "papers/p/claims.toml"} <= found
        assert not {"kdlib.distill.ft", "kdlib.distill.catalogue", "papers/q/claims.toml"} & found

    def test_holds_the_index_of_published_networks_and_the_numbers_of_a_module_that_is_used(self, package):
        found = source_of("from kdlib.cohort.networks import load_networks", package)
        assert set(found) == {"kdlib.cohort.networks", "cohort/published/toy/index.json"}
        assert "cohort/premise.json" in source_of("from kdlib.cohort.premise import read_premise", package)
        assert "cohort/published/toy/index.json" not in source_of("from kdlib.measure import m", package)

    def test_of_a_page_about_the_cohort_is_what_was_trained(self):
        found = source_of("from kdlib.cohort.premise import read_premise\nfrom kdlib.cohort.cohort import load_cohort")
        assert {"cohort/protocol.toml", "cohort/premise.json"} <= set(found)

    def test_holds_the_data_set_that_a_notebook_names(self):
        assert "kdlib.data.drawn.cells" in source_of('data = "cells"')
        assert "kdlib.data.drawn.cells" not in source_of('data = "concept_world"')

    def test_of_this_book_s_networks_and_methods_is_found_by_name(self):
        assert {"kdlib.distill.factor_transfer", "kdlib.models.transformer"} <= set(
            source_of('arms = ("factor_transfer", "small_transformer")')
        )

    def test_ipython_s_own_commands_do_not_hide_the_imports(self, package):
        cells = [{"cell_type": "code", "source": "if colab:\n    %pip install kdlib\nfrom kdlib.helper import h"}]
        assert "kdlib.helper" in source_of(code_of_cells(cells), package)

    def test_of_code_that_is_no_python_is_empty(self, package):
        assert source_of("1 +", package) == {}


def notebook(*code: str, text: str = "Text.") -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_markdown_cell(text), *map(nbformat.v4.new_code_cell, code)]
    return nbformat.v4.new_notebook(cells=cells)


class TestFingerprint:
    def test_follows_code_and_parameters_but_not_text_and_outputs(self):
        one = notebook("x = 1")
        key = fingerprint(one, {"seed": 0})
        assert fingerprint(notebook("x = 1", text="Better."), {"seed": 0}) == key
        done = copy.deepcopy(one)
        done.cells[1].outputs, done.cells[1].execution_count = [nbformat.v4.new_output("stream", text="x")], 3
        done.metadata["kdlib"] = {"fingerprint": key}
        assert fingerprint(done, {"seed": 0}) == key
        assert fingerprint(one, {"seed": 1}) != key
        assert fingerprint(notebook("x = 2"), {"seed": 0}) != key

    @pytest.mark.parametrize(
        ("file", "text", "changes"),
        [
            ("helper.py", FILES["helper.py"].replace("return 1", "return 2"), True),
            ("helper.py", FILES["helper.py"].replace("Says one.", "Says it.").replace("# one", "# really"), False),
            ("unrelated.py", "x = 2", False),
            ("errors.py", "class E(ValueError): pass", False),
            ("widgets/one.js", "another", True),
            ("widgets/two.js", "another", False),
        ],
    )
    def test_follows_the_source_that_is_imported(self, package, monkeypatch, file, text, changes):
        monkeypatch.setattr("kdlib.book.stamps.PACKAGE", package)
        book = notebook("from kdlib.measure import m\nfrom kdlib.widgets import One")
        before = fresh_fingerprint(book)
        (package / file).write_text(text)
        assert (fresh_fingerprint(book) != before) is changes


def fresh_fingerprint(book) -> str:
    """As another process finds it: what was read before is forgotten."""
    from kdlib.book import stamps

    for cached in (stamps._read_file, stamps._hash_of, stamps._table_modules):
        cached.cache_clear()
    found = fingerprint(book, {})
    for cached in (stamps._read_file, stamps._hash_of, stamps._table_modules):
        cached.cache_clear()
    return found


STAMP = {
    "fingerprint": "key",
    "preset": "quick",
    "finished": "2026-11-27T12:00:00+00:00",
    "seconds": 3.5,
    "machine": "Linux",
    "versions": {"python": "3.11.2"},
    "widgets": 0,
}


class TestFits:
    def test_as_long_as_the_fingerprint_is_the_same(self):
        stamped = notebook("1")
        stamped.metadata["kdlib"] = STAMP
        assert why_not(stamped, "key") is None
        assert why_not(stamped, "other") == "its source has changed"

    def test_whatever_versions_are_noted(self):
        stamped = notebook("1")
        stamped.metadata["kdlib"] = {**STAMP, "versions": {"python": "3.13.0", "torch": "9"}}
        assert why_not(stamped, "key") is None

    def test_not_without_a_stamp(self):
        assert why_not(notebook("1"), "key") == "it has no stamp"

    @pytest.mark.parametrize("key", STAMP)
    def test_not_with_a_part_missing_or_of_another_kind(self, key):
        for broken in ({k: v for k, v in STAMP.items() if k != key}, {**STAMP, key: None}):
            stamped = notebook("1")
            stamped.metadata["kdlib"] = broken
            assert read_stamp(stamped) is None
            assert why_not(stamped, "key") == "its stamp is broken"

    @pytest.mark.parametrize("loss", ["state", "one model", "view"])
    def test_not_if_a_widget_has_lost_its_state_or_its_view(self, loss):
        stamped = notebook("show()")
        view = nbformat.v4.new_output("display_data", {WIDGET_VIEW: {"model_id": "a1"}})
        stamped.cells[1].outputs = [view]
        stamped.metadata["kdlib"] = {**STAMP, "widgets": 1}
        stamped.metadata["widgets"] = {WIDGET_STATE: {"state": {"a1": {}, "a2": {}}}}
        assert why_not(stamped, "key") is None
        if loss == "state":
            del stamped.metadata["widgets"]
        elif loss == "one model":
            del stamped.metadata.widgets[WIDGET_STATE].state["a1"]
        else:
            stamped.cells[1].outputs = []
        assert why_not(stamped, "key") == "its widgets' state is gone"
