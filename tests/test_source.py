"""Which source counts for which training, on a package drawn up for it and on kdlib's own."""

from __future__ import annotations

import pytest

from kdlib import source
from kdlib.errors import KdlibError
from kdlib.source import PACKAGE, imported, source_fingerprint, training_source

FILES = {
    "train.py": "from kdlib.lesson import step\nfrom kdlib.errors import KdlibError\n",
    "lesson.py": "step = 1\n",
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

    def of(edited: str = "") -> tuple[str, str]:
        package = tmp_path / str(next(numbers)) / "kdlib"  # the hash of a folder is remembered
        for name, text in FILES.items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + ("# edited\n" if name == edited else ""))
        return tuple(
            source._source_hash(frozenset({"kdlib.train", f"kdlib.distill.{method}"}), package)
            for method in ("one", "other")
        )

    return of


@pytest.mark.parametrize(
    ("edited", "changes_one", "changes_other"),
    [
        ("train.py", True, True),
        ("lesson.py", True, True),
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


def test_a_training_with_attention_transfer_depends_on_what_it_imports_and_not_on_other_methods(monkeypatch):
    read: set[str] = set()
    monkeypatch.setattr(source, "_text_hash", lambda files, package: read.update(map(str, files)) or "")
    source._source_hash.__wrapped__(frozenset({"kdlib.train", "kdlib.distill.attention_transfer"}), PACKAGE)
    names = {name.removeprefix(f"{PACKAGE}/") for name in read}
    assert {"train.py", "lesson.py", "travel.py", "capture.py", "distill/feature_maps.py", "distill/kd.py"} <= names
    assert not {"distill/contrastive.py", "runs.py", "errors.py", "data/concept_world.py"} & names


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


def test_the_fingerprint_is_of_everything():
    assert len(source_fingerprint()) == 64
