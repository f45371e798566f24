"""Work on a Dask cluster: refused where it can't be done, sent back as content, given to another worker at a death."""

from __future__ import annotations

import os
import shutil
import socket
import time

import psutil
import pytest
from dask_cluster import PATIENCE, local_cluster, once
from killed import wait_until

from kdlib import cli
from kdlib.book.notebooks import REPOSITORY
from kdlib.errors import KdlibError, positive_integer
from kdlib.runs import cluster as module
from kdlib.runs.cluster import SchedulerLost, WorkersDied, connected, identity, probe


@pytest.fixture
def port() -> int:
    """A port at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("address", ["", "nonsense://a:1", "tcp://", "a b", "127.0.0.1:123456", "tcp://a:b"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(
        KdlibError, match=r"is no address of a Dask scheduler; give one such as tcp://127\.0\.0\.1:8786"
    ):
        probe(address)


@pytest.mark.parametrize("command", [["cohort", "train"], ["sweep", "kd_loss", "-p", "temperature=1,2"]])
def test_a_scheduler_that_does_not_answer_is_named_in_one_sentence(command, port, capsys, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "--scheduler", f"tcp://127.0.0.1:{port}"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"kdlib: no Dask scheduler answers at tcp://127.0.0.1:{port}; start one by `dask")
    assert told.err.count("\n") == 1 and told.out == "" and list(tmp_path.iterdir()) == []


def test_what_listens_and_says_nothing_is_no_scheduler(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(module, "PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(KdlibError, match=f"no Dask scheduler answers at {address}"), connected(address):
            pass


def test_without_the_extra_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(KdlibError, match=r"not installed: pip install 'kdlib\[cluster\]'"):
        probe("127.0.0.1:8786")


def test_the_identity_is_of_the_whole_source(tmp_path, monkeypatch):
    shutil.copytree(REPOSITORY / "kdlib", tmp_path / "kdlib", ignore=shutil.ignore_patterns("__pycache__", "published"))
    before = identity()
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "kdlib")
    assert identity() == before
    (tmp_path / "kdlib/stats.py").write_text("changed")
    assert identity() != before


@pytest.mark.slow
def test_work_goes_to_workers_of_this_kdlib_alone(tmp_path, monkeypatch):
    with local_cluster(tmp_path / "cluster") as local:
        monkeypatch.setattr(module, "PATIENCE", 1)
        with pytest.raises(KdlibError, match="has no workers; start some"), connected(local.address):
            pass
        monkeypatch.setattr(module, "PATIENCE", PATIENCE)
        local.start_worker("one")
        with connected(local.address) as cluster:
            first = cluster.submit(positive_integer, 3, "n")
            after = cluster.submit(max, 2, needs=(first, cluster.hand(7)))
            wrong = cluster.submit(positive_integer, -3, "n")
            answers = dict(cluster.finished({first: "first", after: "after", wrong: "wrong"}))
            assert (answers["first"](), answers["after"]()) == (3, 7)
            with pytest.raises(KdlibError, match="n must be a whole number of at least 1, not -3"):
                answers["wrong"]()
            lacking = cluster.submit(os.stat, str(tmp_path / "none"))  # no KdlibError
            ((_, answer),) = cluster.finished({lacking: ""})
            with pytest.raises(KdlibError, match="was not finished: FileNotFoundError"):
                answer()
        worker = psutil.Process(local.workers["one"].pid)
        with connected(local.address) as cluster:
            futures = [cluster.submit(time.sleep, 600)]
            assert futures and wait_until(lambda: worker.children(recursive=True), PATIENCE)
        assert wait_until(lambda: not worker.children(recursive=True), PATIENCE), "nobody waits for it any more"
        other = tmp_path / "other"
        shutil.copytree(REPOSITORY / "kdlib", other / "kdlib", ignore=shutil.ignore_patterns("__pycache__"))
        with (other / "kdlib/stats.py").open("a") as file:
            file.write("# another source\n")
        local.kill_worker("one")
        local.start_worker("two", source=other)
        refused = pytest.raises(KdlibError, match=r"the worker tcp://.* has kdlib .* of another source")
        with refused, connected(local.address):
            pass


@pytest.mark.slow
def test_work_over_which_workers_die_is_given_up_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    with local_cluster(tmp_path / "cluster", "one", deaths=0) as local, connected(local.address) as cluster:
        worker = psutil.Process(local.workers["one"].pid)
        futures = {cluster.submit(time.sleep, 600): "sleep"}
        with once(lambda: worker.children(recursive=True), lambda: local.kill_worker("one")):
            ((value, answer),) = cluster.finished(futures)
        with pytest.raises(WorkersDied, match="the workers that did it died, one after another"):
            answer()
        assert value == "sleep"


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    with local_cluster(tmp_path / "cluster", "one") as local, connected(local.address) as cluster:
        monkeypatch.setattr(module, "PATIENCE", 1)
        futures = {cluster.submit(time.sleep, 600): "sleep"}
        with once(lambda: True, local.scheduler.kill), pytest.raises(SchedulerLost, match="went away"):
            for _, answer in cluster.finished(futures):
                answer()


class Future:
    """Of work that raised something on the worker, outside of the function that it was to call."""

    status = "error"

    def result(self):
        raise OSError(28, "No space left on device")


def test_a_worker_s_own_trouble_is_not_taken_for_the_scheduler_s():
    with pytest.raises(KdlibError, match=r"a worker could not do it \(OSError: .*No space left on device\)") as told:
        module.Cluster(None, "a:1")._answer(Future())
    assert not isinstance(told.value, SchedulerLost)
