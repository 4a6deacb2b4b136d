"""Serve a web page that tags recordings: drop or record one, choose models, watch the tags as it plays.

    pip install -r requirements-app.txt
    python app.py

Offers all checkpoints in `{models_dir}/*/*.pth`. The page is served to this machine alone unless
`--host` says otherwise. Stop it with Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from pathlib import Path

from config import MODELS_DIR
from runtime.arguments import ScriptParser, positive_float, positive_int
from runtime.errors import CheckpointError, UsageError, run_script
from runtime.paths import real_path
from runtime.signals import StopRequest


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(description=__doc__)
    parser.add_argument("--models_dir", type=Path, default=MODELS_DIR, help="where the checkpoints of runs are")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="offer this one too; may be repeated",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to serve; 0.0.0.0 opens the page to the network")
    parser.add_argument("--port", type=positive_int, help="port to serve; the first free one from 7860 on if not given")
    parser.add_argument("--max_minutes", type=positive_float, default=15.0, help="the longest recording that is taken")
    parser.add_argument("--max_megabytes", type=positive_int, default=100, help="the largest upload that is taken")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps")
    return parser.parse_args()


def find_checkpoints(models_dir: Path, given: list[Path]) -> dict[str, Path]:
    """The checkpoints to offer, by label.

    Raises:
        CheckpointError: there is none.
    """
    paths = [*given, *sorted(models_dir.glob("*/*.pth"))]
    if not paths:
        raise CheckpointError(f"no checkpoint in {models_dir}; train one, or give its file with --checkpoint")
    found: dict[str, Path] = {}
    for path in paths:
        label = f"{real_path(path).parent.name}/{path.stem}"
        if real_path(path) != real_path(found.get(label, path)):
            label = str(path)
        found[label] = path
    return found


def main() -> None:
    arguments = parse_arguments()
    if importlib.util.find_spec("gradio") is None:
        raise UsageError("the page needs the package gradio: pip install -r requirements-app.txt")
    checkpoints = find_checkpoints(arguments.models_dir, arguments.checkpoint)

    from runtime.devices import resolve_device  # imports PyTorch

    resolve_device(arguments.device)
    with tempfile.TemporaryDirectory(prefix="music-tagging-") as folder, StopRequest() as stop:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")  # removed with the folder when the page stops
        work_dir = Path(folder) / "results"
        work_dir.mkdir()

        from tagging.page import PageSettings, build_page, launch_options
        from tagging.tagger import Tagger

        settings = PageSettings(checkpoints, arguments.max_minutes * 60, arguments.max_megabytes)
        page = build_page(settings, lambda path: Tagger.load(path, device=arguments.device), work_dir)
        try:
            _, url, _ = page.launch(server_name=arguments.host, server_port=arguments.port, **launch_options(settings))
        except OSError as error:
            raise UsageError(f"cannot serve {arguments.host}, port {arguments.port or 7860}: {error}") from error
        print(f"serving {url} (Ctrl-C stops it)", flush=True)
        while stop.requested is None:
            time.sleep(0.2)
        page.close(verbose=False)


if __name__ == "__main__":
    run_script(main)
