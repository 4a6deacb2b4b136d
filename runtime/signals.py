"""Stop at a safe point: a signal asks, a second SIGINT insists."""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
import time
from collections.abc import Iterable
from types import FrameType

# Ctrl-C; a scheduler that takes the machine away; a terminal that is closed.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(KeyboardInterrupt):
    """A signal other than SIGINT, where no `StopRequest` waits for it: the script ends at once, as by Ctrl-C.

    Not an `Exception`, so that nothing takes it for a damaged file.
    """


def raise_on_signals() -> None:
    """From now on a stop signal raises here what ends the script in good order.

    Signals come in bursts, to a process and to its group: what follows within a second is the same one.
    """
    last = -math.inf

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > 1.0:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(signal.Signals(number).name)

    numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    _handle(stop, numbers)


def leave_on_signals(code: int) -> None:
    """From now on, with the work behind it, the process ends with `code`: SIGINT makes it do so at once.

    Python's own end takes a while with PyTorch loaded, and takes back handlers, though not what is ignored.
    """
    _handle(lambda *_: os._exit(code), [signal.SIGINT])
    atexit.register(_handle, signal.SIG_IGN, [signal.SIGINT])  # called when no thread is waited for any more
    _handle(signal.SIG_IGN, [number for number in STOP_SIGNALS if number != signal.SIGINT])


class StopRequest:
    """While active, the first stop signal only sets `requested`; the job ends at its next safe point.

    A second SIGINT raises KeyboardInterrupt at once. Outside the main thread, where Python allows
    no handlers, nothing is changed.
    """

    def __init__(self) -> None:
        self.requested: str | None = None  # name of the signal
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        self._previous = _handle(self._ask, STOP_SIGNALS)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name


def _handle(handler: object, numbers: Iterable[int]) -> dict[int, object]:
    """Install a handler; returns those before it. A hang-up that is ignored (`nohup`) stays so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in numbers if not _is_nohup(number)}


def _is_nohup(number: int) -> bool:
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN
