"""Processes that work together as `torchrun` starts them, for tests on a CPU."""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch

from kdlib.train.processes import several


def run_together(work: Callable[..., Any], count: int, *arguments: Any) -> list[Any]:
    """What `work(*arguments)`, a function of a module, gives in each of `count` processes, within `several()`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    started = [
        context.Process(target=_one, args=(answers, rank, count, port, work, arguments), daemon=True)
        for rank in range(count)
    ]
    for process in started:
        process.start()
    try:
        found = sorted((answers.get() for _ in started), key=lambda answer: answer[0])
    finally:
        for process in started:
            process.join(10)
            process.kill()
    for _, _, error in found:
        assert not error, error
    return [torch.load(io.BytesIO(content), weights_only=False) for _, content, _ in found]


def _one(answers: Any, rank: int, count: int, port: int, work: Callable[..., Any], arguments: tuple) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    result, error = None, ""
    try:
        with several("cpu"):
            result = work(*arguments)
    except BaseException:
        error = traceback.format_exc()
    content = io.BytesIO()  # tensors sent as they are would need their sender to stay
    torch.save(result, content)
    answers.put((rank, content.getvalue(), error))
