"""Processes that decode photographs: where they come from, and how they end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from photographs import plant

from kdlib.data.decoding import _forkserver


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("pets"), {"cat": 20, "dog": 20, "truck": 10})


def test_decoding_processes_are_not_forked_from_one_that_has_threads():
    """A fork copies locks as they are: one held by a thread of gloo's is never freed in the copy."""
    assert _forkserver().get_start_method() == "forkserver"


READER = """
import multiprocessing, sys, time
from kdlib.data.folder_stream import FolderStream

if __name__ == "__main__":
    batches = FolderStream(sys.argv[1], image_size=8, workers=2).batches(2)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes under /proc")
def test_decoding_processes_end_with_a_reader_that_is_killed(tree, tmp_path):
    (tmp_path / "reader.py").write_text(READER)
    command = [sys.executable, str(tmp_path / "reader.py"), str(tree)]
    short = tempfile.mkdtemp()  # the path of a socket has about a hundred characters at most
    variables = {**os.environ, "TMPDIR": short}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as reader:
        assert reader.stdout is not None
        decoders = [int(pid) for pid in reader.stdout.readline().split()]
        assert len(decoders) == 2 and all(alive(pid) for pid in decoders)
        reader.kill()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in decoders) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(alive(pid) for pid in decoders)
    # The sockets of its processes lie where the next start removes them.
    assert {path.name.split("-")[0] for path in Path(short).iterdir()}.isdisjoint({"pymp"})
    shutil.rmtree(short)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


KILLED = """
import multiprocessing, os, sys
from kdlib.data.folder_stream import FolderStream

if __name__ == "__main__":
    batches = FolderStream(sys.argv[1], image_size=8, workers=1).batches(1)
    next(batches)
    os.kill(multiprocessing.active_children()[0].pid, 9)
    for _ in batches:
        pass
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="kills a process of its own")
def test_a_decoding_process_that_is_killed_is_told_in_one_sentence(tree, tmp_path):
    (tmp_path / "reader.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "reader.py"), str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    told = done.stderr.splitlines()[-1]
    assert "KdlibError: a process that decodes pictures ended early: it was killed, most likely for want of me" in told
    assert "(take fewer workers than 1)" in told
