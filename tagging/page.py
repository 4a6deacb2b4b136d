"""The local web page: a recording in, taggrams and the best tags of several cultures out (Gradio)."""

from __future__ import annotations

import html
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing leaves this machine; Gradio reads it when imported
import gradio as gr

from preprocessing.decoders import open_audio
from runtime.errors import UserError
from tagging.page_html import SCRIPT, STYLE, results_html
from tagging.prediction import unique_labels
from tagging.results import Analysis
from tagging.tables import score_table, taggram_table, write_csv
from tagging.tagger import Tagger, analyse
from tagging.taggram import clock

KEPT_SECONDS = 3600  # how long uploads and results stay
OVERLAPS = {"none": 0.0, "half": 0.5, "three quarters": 0.75}
MAX_LOADED = 8  # models held in memory


@dataclass(frozen=True)
class PageSettings:
    """The options of `app.py`.

    Attributes:
        checkpoints: what can be chosen, by label.
        max_seconds: the longest recording that is taken.
        max_megabytes: the largest upload that is taken.
    """

    checkpoints: Mapping[str, Path]
    max_seconds: float
    max_megabytes: int


def build_page(settings: PageSettings, load: Callable[[Path], Tagger], work_dir: Path) -> gr.Blocks:
    """The page.

    Args:
        settings: its options.
        load: loads a checkpoint; its results are kept.
        work_dir: where result files are put; an hour later they are removed.
    """
    load = lru_cache(maxsize=MAX_LOADED)(load)

    def tag(audio: str | None, labels: list[str], overlap: str) -> tuple[str, list[str]]:
        _remove_old(work_dir)
        if audio is None:
            raise gr.Error("Choose a recording, or record one, first.", print_exception=False)
        if not labels:
            raise gr.Error("Choose at least one model.", print_exception=False)
        path = Path(audio)
        try:
            check_length(path, settings.max_seconds)
            taggers = [load(settings.checkpoints[label]) for label in labels]
            analyses = analyse(taggers, path, overlap=OVERLAPS[overlap], max_seconds=settings.max_seconds)
        except UserError as error:
            message = str(error).replace(str(path), path.name)
            raise gr.Error(html.escape(message), print_exception=False) from error
        files = write_files(Path(tempfile.mkdtemp(dir=work_dir)), path.name, analyses, unique_labels(taggers))
        return results_html(path.name, audio, analyses), [str(file) for file in files]

    labels = list(settings.checkpoints)
    with gr.Blocks(title="Music tagging", analytics_enabled=False, delete_cache=(600, KEPT_SECONDS)) as page:
        gr.Markdown(
            "# Music tagging across cultures\n"
            f"Recordings of up to {clock(settings.max_seconds)} min and {settings.max_megabytes} MB. They stay on the "
            "machine that serves this page."
        )
        with gr.Row():
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label="Recording", elem_id="recording")
            with gr.Column():
                models = gr.CheckboxGroup(labels, value=labels[:1], label="Models (corpus/model)", elem_id="models")
                overlap = gr.Radio(list(OVERLAPS), value="none", label="Overlap of the chunks")
                button = gr.Button("Tag", variant="primary", elem_id="tag")
        result = gr.HTML(elem_id="result")
        files = gr.File(label="Scores (CSV)", file_count="multiple", interactive=False, elem_id="files")
        button.click(tag, [audio, models, overlap], [result, files], api_name="tag")
        audio.change(lambda: ("", None), None, [result, files], api_name=False, queue=False)
    return page


def launch_options(settings: PageSettings) -> dict[str, object]:
    """What `Blocks.launch` must be given for the page to work as meant."""
    return {
        "css": STYLE,
        "head": SCRIPT,
        "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),  # no fonts from the web
        "max_file_size": f"{settings.max_megabytes}mb",
        "footer_links": [],
        "prevent_thread_lock": True,
        "quiet": True,
        "share": False,
        "ssr_mode": False,
    }


def check_length(path: Path, max_seconds: float) -> None:
    """Refuse a recording that is too long, before it is decoded if its header tells.

    Raises:
        AudioError: it cannot be opened.
        UserError: it is too long.
    """
    with open_audio(path, 1.0) as source:
        if source.promised_frames is not None and source.promised_frames > max_seconds * source.sample_rate:
            length = clock(source.promised_frames / source.sample_rate)
            raise UserError(f"{path} is {length} min long; this page takes up to {clock(max_seconds)}. Use predict.py.")


def write_files(folder: Path, name: str, analyses: list[Analysis], labels: list[str]) -> list[Path]:
    """Write the CSV files of a result: the scores of all models, and each model's over time."""
    models = {label: {"scores": one.as_dict()} for label, one in zip(labels, analyses, strict=True)}
    paths = [folder / "scores.csv"]
    write_csv(paths[0], *score_table({name: {"seconds": max(one.seconds for one in analyses), "models": models}}))
    for label, analysis in zip(labels, analyses, strict=True):
        paths.append(folder / f"over_time.{label.replace('/', '-')}.csv")
        write_csv(paths[-1], *taggram_table(analysis))
    return paths


def _remove_old(work_dir: Path) -> None:
    for folder in work_dir.iterdir():
        try:
            if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # removed by another request
            continue
