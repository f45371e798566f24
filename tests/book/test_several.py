"""Several notebooks at once: all results, or the first error and nothing that goes on."""

from __future__ import annotations

import threading

import pytest

from kdlib.book.several import several_at_once


def test_as_many_as_asked_work_at_once():
    together = threading.Barrier(3)  # broken if fewer ever meet
    assert sorted(several_at_once(lambda task, stop: together.wait(60) * 0 + task, [1, 2, 3], jobs=3)) == [1, 2, 3]


def test_an_error_ends_the_others_and_what_has_not_begun():
    begun = []

    def work(task, stop):
        begun.append(task)
        if task == 1:
            raise ValueError("broken")
        assert stop.wait(60)
        return task

    with pytest.raises(ValueError, match="broken"):
        several_at_once(work, [0, 1, 2, 3, 4], jobs=2)
    assert set(begun) == {0, 1}
