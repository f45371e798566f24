"""Which source counts for which training, on a package drawn up for it and on kdlib's own."""

from __future__ import annotations

import pytest

from kdlib.errors import KdlibError
from kdlib.runs import source
from kdlib.runs.source import code_of, imported, source_files, source_hash, training_source

FILES = {
    "train/loop.py": "from kdlib.train.step import step\nfrom kdlib.errors import KdlibError\n",
    "train/step.py": "step = 1\n",
    "errors.py": "class KdlibError(ValueError): ...\n",
    "distill/__init__.py": "",
    "distill/catalogue.py": "from kdlib.distill.one import One\nfrom kdlib.distill.other import Other\n",
    "distill/one.py": "from kdlib.distill import shared\nOne = shared\n",
    "distill/shared.py": "value = 1\n",
    "distill/other.py": "def late():\n    from kdlib.models import net\n    return net\n",
    "models/__init__.py": "from kdlib.models.net import Net\n",
    "models/net.py": "Net = 1\n",
}


@pytest.fixture
def hashes(tmp_path):
    """hash_of(edited file) of the training with method `one`, and with `other`."""
    numbers = iter(range(100))

    def of(edited: str = "", edit: str = "edited = 1\n") -> tuple[str, str]:
        package = tmp_path / str(next(numbers)) / "kdlib"  # the hash of a folder is remembered
        for name, text in FILES.items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + (edit if name == edited else ""))
        one, other = (
            source_hash({"kdlib.train.loop", f"kdlib.distill.{method}"}, package) for method in ("one", "other")
        )
        return one, other

    return of


@pytest.mark.parametrize(
    ("edited", "changes_one", "changes_other"),
    [
        ("train/loop.py", True, True),
        ("train/step.py", True, True),
        ("distill/one.py", True, False),
        ("distill/other.py", False, True),
        ("distill/shared.py", True, False),
        ("models/net.py", False, True),  # imported late, from the package
        ("models/__init__.py", False, False),  # a table of names
        ("distill/catalogue.py", False, False),
        ("errors.py", False, False),  # words
        ("", False, False),
    ],
)
def test_an_edit_reaches_the_trainings_that_run_through_it(hashes, edited, changes_one, changes_other):
    (one, other), (one_after, other_after) = hashes(), hashes(edited)
    assert (one != one_after, other != other_after) == (changes_one, changes_other)


def test_imports_inside_functions_count(tmp_path):
    file = tmp_path / "late.py"
    file.write_text("import os\n\ndef f():\n    from kdlib.data import image_set\n    import kdlib.capture\n")
    assert imported(file) == ("kdlib.data", "kdlib.data.image_set", "kdlib.capture")


def test_a_comment_or_a_docstring_changes_nothing(hashes):
    assert hashes() == hashes("train/loop.py", edit="# a comment\n\n") == hashes("train/loop.py", edit="")
    assert hashes("distill/one.py", edit='def f():\n    """One."""\n') == hashes(
        "distill/one.py", edit='def f():\n    """Another sentence, with ‘’ in it."""  # and a comment\n'
    )


def test_code_keeps_strings_that_are_no_docstrings_and_marks_in_them():
    text = 'x = "# no comment"\ny = """\n# text\n"""\n'
    assert code_of(text) == 'x = "# no comment"\ny = """\n# text\n"""'


def test_a_training_with_attention_transfer_depends_on_what_it_imports_and_not_on_other_methods():
    found = source_files({"kdlib.train.loop", "kdlib.distill.attention_transfer"})
    needed = {"train.loop", "train.weight_distance", "capture", "distill.feature_maps", "distill.kd", "data.task"}
    assert {f"kdlib.{name}" for name in needed} <= found.keys()
    others = {"distill.contrastive", "runs.store", "errors", "data.drawn.concept_world"}
    assert not {f"kdlib.{name}" for name in others} & found.keys()


@pytest.mark.parametrize("module", ["kdlib.papers.cheng2020.concept_maps", "kdlib.papers.han2023.roar"])
def test_a_measurement_that_is_kept_depends_on_its_own_measure(module):
    measures = {"cheng2020": "kdlib.metrics.information.search", "han2023": "kdlib.metrics.diffroar"}
    found = source_files({module})
    assert module in found and measures[module.split(".")[2]] in found
    assert "kdlib.runs.store" not in found


def test_a_table_that_is_not_where_it_was_is_an_error(monkeypatch):
    monkeypatch.setattr(source, "_NO_NUMBERS", ("kdlib.errors", "kdlib.models.gone"))
    with pytest.raises(KdlibError, match=r"kdlib\.models\.gone"):
        source_files({"kdlib.train.loop"})


def test_all_modules_of_networks_and_methods_have_a_source():
    from kdlib.distill.catalogue import METHODS
    from kdlib.models import MODELS

    modules = {m.build.__module__ for m in METHODS.values()} | {b.__module__ for b in MODELS.values()}
    assert "kdlib.distill.catalogue" not in modules  # a builder there would not count
    assert "kdlib.models" not in modules
    assert len({training_source([module]) for module in modules}) > len(METHODS) / 2


def test_a_users_own_module_is_left_out_and_a_missing_one_of_kdlib_refused():
    assert training_source(["numpy"]) == training_source([])
    with pytest.raises(KdlibError, match=r"kdlib\.nothing"):
        training_source(["kdlib.nothing"])
