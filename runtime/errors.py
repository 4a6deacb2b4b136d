"""The errors a user may meet, and the one place that turns them into a line and an exit code.

Anything that can go wrong for a reason the user can act on raises a `UserError`; its message is
one line that says what is wrong, where, and what to do. Any other exception is a bug of ours and
keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable

EXIT_FAILED = 1  # the job could not be done
EXIT_USAGE = 2  # the command itself is wrong (also what argparse uses)
EXIT_INCOMPLETE = 3  # done, but for some files; the output names them
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


def _os_error_line(error: OSError) -> str | None:
    """One line for operating-system errors that are the user's to mend, else None."""
    where = f": {error.filename}" if error.filename else ""
    advice = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again",
        errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
        errno.EFBIG: "a file grew past the allowed size; raise the limit and run the same command again",
        errno.EACCES: "permission denied; choose a directory you may write to",
        errno.EPERM: "operation not permitted; choose a directory you may write to",
        errno.EROFS: "the file system is read-only; choose a directory you may write to",
        errno.ENOENT: "no such file or directory",
        errno.ENOTDIR: "not a directory",
        errno.EISDIR: "is a directory where a file is expected",
        errno.EEXIST: "a file is in the way",
        errno.ENAMETOOLONG: "the name is too long",
        errno.EIO: "the disk reported an input/output error",
        errno.ESTALE: "the network file system lost the file",
        errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    }.get(error.errno)
    return None if advice is None else f"{advice}{where}"


def run_script(main: Callable[[], int | None], debug: bool | None = None) -> None:
    """Run a script's `main` and exit; user-facing errors become one line on stderr.

    `--debug` on the command line (or CROSSTAG_DEBUG=1) shows the traceback as well.
    """
    if debug is None:
        debug = "--debug" in sys.argv[1:] or os.environ.get("CROSSTAG_DEBUG") == "1"
    try:
        code = main() or 0
        sys.stdout.flush()  # a full disk or a closed pipe shows here at the latest
    except UserError as error:
        code = _tell(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        code = _tell("interrupted; the same command goes on from what is finished", EXIT_INTERRUPTED, debug)
    except BrokenPipeError:  # `... | head`: the reader has gone, nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except OSError as error:
        line = _os_error_line(error)
        if line is None:
            raise
        code = _tell(line, EXIT_FAILED, debug)
    sys.exit(code)


def _tell(line: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {line}", file=sys.stderr, flush=True)
    return code
