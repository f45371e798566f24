"""The cure for a CPU torch beside a CUDA-linked torchvision: applied when needed, and only then.

Each case runs in a fresh process with a stand-in for torchvision, since an import can't be undone in this one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kdlib.vision import torchvision

REPOSITORY = Path(__file__).parents[1]

# Like torchvision: a submodule registers kernels against an operator that the compiled extension should have declared.
NEEDS_OPERATORS = """
from . import inner
"""
INNER = """
import torch
@torch.library.register_fake("torchvision::nms")
def _(dets, scores, iou_threshold):
    return dets.new_empty(0, dtype=torch.long)
@torch.library.register_fake("torchvision::qnms")
def _(dets, scores, iou_threshold):
    return dets.new_empty(0, dtype=torch.long)
"""
REPORT = """
import kdlib.vision as vision, torch
try:
    torch.ops.torchvision.nms.default
    declared = True
except AttributeError:
    declared = False
print(vision.torchvision.__name__, "cured" if vision._library is not None else "left alone", declared)
"""


def run(stand_in: dict[str, str], tmp_path: Path, program: str = REPORT) -> subprocess.CompletedProcess:
    package = tmp_path / "torchvision"
    package.mkdir()
    for name, text in stand_in.items():
        (package / name).write_text(text)
    path = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(REPOSITORY)!r}]\n"
    return subprocess.run([sys.executable, "-c", path + program], capture_output=True, text=True, timeout=120)


def test_missing_operators_are_declared_and_the_import_repeated(tmp_path):
    result = run({"__init__.py": NEEDS_OPERATORS, "inner.py": INNER}, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[0] == "torchvision cured True"


def test_without_the_cure_that_import_fails(tmp_path):
    result = run({"__init__.py": NEEDS_OPERATORS, "inner.py": INNER}, tmp_path, "import torchvision")
    assert result.returncode != 0
    assert "operator torchvision::nms does not exist" in result.stderr


def test_working_torchvision_is_left_alone(tmp_path):
    result = run({"__init__.py": "answer = 42"}, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[0] == "torchvision left alone False"


def test_another_error_is_passed_on_unchanged(tmp_path):
    result = run({"__init__.py": "raise RuntimeError('the disk is on fire')"}, tmp_path)
    assert result.returncode != 0
    assert result.stderr.strip().endswith("RuntimeError: the disk is on fire")


def test_models_data_sets_and_transforms_are_in_reach():
    assert torchvision.models.resnet18(num_classes=3).fc.out_features == 3
    assert torchvision.datasets.CIFAR10.base_folder == "cifar-10-batches-py"
    assert callable(torchvision.transforms.PILToTensor())
