"""Ctrl-C before a script has begun: while Python still imports its libraries."""

import os
import signal
import subprocess
import sys

import pytest

from config import ROOT

# A module that is imported early on, in whose place the interrupt comes.
NUMPY = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n"


@pytest.mark.parametrize("module", ["study.comparisons", "study.tables", "study.figures", "study.report"])
def test_ctrl_c_while_libraries_are_imported_is_one_line(tmp_path, module):
    (tmp_path / "numpy.py").write_text(NUMPY)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    done = run("--dataset", "makam")
    assert done.returncode == -signal.SIGINT
    assert done.stderr == "error: interrupted; the same command goes on from what is finished\n"
    assert "Traceback" in run("--debug").stderr
