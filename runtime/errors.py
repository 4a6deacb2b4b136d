"""The errors a user may meet, and the one place that turns them into a line and an exit code.

Anything that can go wrong for a reason the user can act on raises a `UserError`; its message is
one line that says what is wrong, where, and what to do. Any other exception is a bug of ours and
keeps its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import TextIO

from runtime.signals import Terminated, leave_on_signals, raise_on_signals

EXIT_FAILED = 1  # the job could not be done
EXIT_USAGE = 2  # the command itself is wrong (also what argparse uses)
EXIT_INCOMPLETE = 3  # done, but for some files; the output names them
EXIT_UNEXPECTED = 70  # a fault of this program (EX_SOFTWARE)
EXIT_STOPPED = 75  # stopped by a signal with the work saved: the same command goes on (EX_TEMPFAIL)
EXIT_INTERRUPTED = 130  # stopped at once by Ctrl-C


class UserError(Exception):
    """Base of all errors that are told to the user in one line."""

    exit_code = EXIT_FAILED


class UsageError(UserError):
    """A bad argument, or arguments that do not fit together."""

    exit_code = EXIT_USAGE


class DataError(UserError):
    """A file of a corpus that is missing, damaged, or contradicts another."""


class AudioError(DataError):
    """An audio file that cannot be decoded."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or does not fit the model or the corpus."""


class TrainingError(UserError):
    """Training cannot go on (a loss that is not finite, out of memory, a busy run)."""


class GraphError(TrainingError):
    """A training step cannot be recorded as a CUDA graph."""


class IncompleteError(UserError):
    """The job is done except for some files, which its output has named."""

    exit_code = EXIT_INCOMPLETE


class Stopped(UserError):
    """The job was stopped by a signal, with its work saved."""

    exit_code = EXIT_STOPPED


def listed(items: list[str], most: int = 5) -> str:
    """The first `most` items, comma-separated, and how many more there are."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


_OS_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "a file grew past the allowed size; raise the limit and run the same command again",
    errno.EACCES: "permission denied; choose a directory you may write to",
    errno.EPERM: "operation not permitted; choose a directory you may write to",
    errno.EROFS: "the file system is read-only; choose a directory you may write to",
    errno.EEXIST: "a file is in the way",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENOLCK: "the file system has no file locks; choose a directory on another one",
    errno.EOPNOTSUPP: "the file system cannot do this; choose a directory on another one",
}


def _os_error_line(error: OSError) -> str:
    """The operating system's error in one line, with advice where there is any."""
    what = _OS_ADVICE.get(error.errno, error.strerror or str(error) or type(error).__name__)
    return f"{what}: {error.filename}" if error.filename else what


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's error, PyTorch's for a GPU, those of its CPU allocator and of the loader."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's; this module does not import it
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
        or (isinstance(error, ImportError) and "failed to map segment" in str(error))  # a library of PyTorch's
    )


def run_script(main: Callable[[], int | None], debug: bool | None = None) -> None:
    """Run a script's `main` and exit; whatever goes wrong becomes one line on stderr.

    `--debug` on the command line (or CROSSTAG_DEBUG=1) shows the traceback as well.
    """
    if debug is None:
        debug = "--debug" in sys.argv[1:] or os.environ.get("CROSSTAG_DEBUG") == "1"
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a character is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = _Unfailing(sys.stderr)
    try:
        raise_on_signals()
        code = main() or 0
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk or a closed pipe shows here at the latest
    except UserError as error:
        code = _tell(str(error), error.exit_code, debug)
    except Terminated as signal:
        code = _tell(f"stopped by {signal}; the same command goes on from what is finished", EXIT_STOPPED, debug)
    except KeyboardInterrupt:
        code = _tell("interrupted; the same command goes on from what is finished", EXIT_INTERRUPTED, debug)
    except BrokenPipeError:  # `... | head`: the reader has gone, nobody is left to tell
        code = EXIT_FAILED
    except OSError as error:
        code = _tell(_os_error_line(error), EXIT_FAILED, debug)
    except Exception as error:
        if out_of_memory(error):
            code = _tell("out of memory; try a smaller --batch_size or another machine", EXIT_FAILED, debug)
        else:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            line = f"this program failed ({what}); --debug shows where, please report it"
            code = _tell(line, EXIT_UNEXPECTED, debug)
    leave_on_signals(code)
    _close_output()
    sys.exit(code)


def _tell(line: str, code: int, debug: bool) -> int:
    leave_on_signals(code)
    if debug:
        traceback.print_exc()
    line = "".join(character if character.isprintable() else " " for character in line)
    print(f"error: {line}", file=sys.stderr, flush=True)
    return code


class _Unfailing:
    """Standard error: progress that cannot be written, on a full disk or a closed terminal, stops no work."""

    def __init__(self, stream: TextIO | _Unfailing | None) -> None:
        self.stream = stream.stream if isinstance(stream, _Unfailing) else stream

    def write(self, text: str) -> int:
        if self.stream is not None:
            with contextlib.suppress(OSError):
                self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self.stream is not None:
            with contextlib.suppress(OSError):
                self.stream.flush()

    def isatty(self) -> bool:
        return self.stream is not None and self.stream.isatty()

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


def _close_output() -> None:
    """Flush; where that fails, drop what is left, or the interpreter would complain of it on its way out."""
    sys.stderr = sys.stderr.stream
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
