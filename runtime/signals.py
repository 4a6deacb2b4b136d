"""Stop at a safe point: SIGINT and SIGTERM ask, a second SIGINT insists."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StopRequest:
    """While active, the first SIGINT or SIGTERM only sets `requested`; the job ends at its next safe point.

    A second SIGINT raises KeyboardInterrupt at once. Schedulers send SIGTERM before they take a
    machine away. Outside the main thread, where Python allows no handlers, nothing is changed.
    """

    def __init__(self) -> None:
        self.requested: str | None = None  # name of the signal
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
