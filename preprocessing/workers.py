"""A pool of worker processes that outlives any of its workers.

`concurrent.futures` gives up all remaining work when one worker dies. Decoders of damaged files
do crash, hang or run out of memory, so here a dead worker costs the task it had, and is replaced.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from runtime.signals import STOP_SIGNALS

Task = TypeVar("Task")

# Forking is instant, as everything is imported already; elsewhere than on Linux it is not safe.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"


@dataclass(frozen=True)
class Crash:
    """The result of a task whose worker died, and why in a few words."""

    reason: str


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: Any = None


def run_in_workers(
    function: Callable[[Task], Any], tasks: Sequence[Task], workers: int, time_limit: int
) -> Iterator[tuple[Task, Any]]:
    """Run `function` on each of `tasks` in `workers` processes of one thread each.

    A worker that a task keeps for more than `time_limit` seconds is ended by the system's alarm
    clock, even inside C code. Closing the iterator, or an exception inside it, kills the workers
    at once; should this process be killed, they end with the task they have.

    Args:
        function: called in the workers, which discard what it or its libraries print on stderr;
            it must not raise.
        tasks: small picklable objects.

    Yields:
        (task, what `function` returned or a `Crash`), in the order of completion.
    """
    remaining = iter(tasks)
    pool: list[_Worker] = []
    try:
        for task in itertools.islice(remaining, workers):
            pool.append(_start(function, time_limit))
            _give(pool[-1], task)
        busy = {worker.connection: worker for worker in pool}
        while busy:
            for connection in wait(list(busy)):
                worker = busy.pop(connection)
                done = worker.task
                try:
                    result = connection.recv()
                except (EOFError, OSError):
                    result = Crash(_cause_of_death(worker.process, time_limit))
                    pool.remove(worker)
                    connection.close()
                    worker = None
                for task in itertools.islice(remaining, 1):
                    if worker is None:
                        worker = _start(function, time_limit)
                        pool.append(worker)
                    _give(worker, task)
                    busy[worker.connection] = worker
                yield done, result
    finally:
        for worker in pool:
            worker.process.kill()
        for worker in pool:
            worker.process.join()
            worker.connection.close()


def _start(function: Callable[[Task], Any], time_limit: int) -> _Worker:
    context = multiprocessing.get_context(START_METHOD)
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs, time_limit, os.getpid()), daemon=True)
    # A signal must not find the child with our handlers still in place.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker, task: Any) -> None:
    worker.task = task
    with contextlib.suppress(OSError):  # it has just died; waiting for its result will show it
        worker.connection.send(task)


def _cause_of_death(process: BaseProcess, time_limit: int) -> str:
    process.join()
    code = process.exitcode or 0
    if code == -signal.SIGALRM:
        return f"not done after {time_limit} s"
    if code == -signal.SIGKILL:
        return "the worker was killed (out of memory?)"
    if code < 0:
        return f"the decoder crashed ({signal.Signals(-code).name})"
    return f"the worker ended unexpectedly (exit code {code})"


def _work(function: Callable[[Task], Any], connection: Connection, time_limit: int, parent: int) -> None:
    for number in (*STOP_SIGNALS, signal.SIGALRM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` makes it
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    # Decoders written in C comment on damaged files there, across the progress bar.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with threadpool_limits(1):
        try:
            while True:
                while not connection.poll(1.0):
                    if os.getppid() != parent:
                        return
                task = connection.recv()
                signal.alarm(time_limit)
                result = function(task)
                signal.alarm(0)
                connection.send(result)
        except (EOFError, OSError):  # the parent has gone, or needs no more
            return
