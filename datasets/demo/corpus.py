"""Make a demo corpus: its sounds, its labels and the note that it is synthetic; resumed if interrupted."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from config import DATASETS, SPECTROGRAM
from datasets.demo.design import design, generator
from datasets.demo.layouts import SPLITS, Entry, name, write_labels
from datasets.demo.marker import MARKER, claim
from datasets.demo.recipes import RECIPES
from datasets.demo.recipes.recipe import Recipe, Stage
from datasets.demo.timbres import SAMPLE_RATE
from preprocessing.mel import mel_spectrogram
from runtime.atomic_files import atomic_write, make_directory, remove_stale_parts

VERSION = 1  # of what the recipes sound like; a corpus begun with another version is not continued

_README = """\
SYNTHETIC demo corpus in the on-disk layout of {title}
{underline}
Nothing here is a recording of music. Every sound was computed by `python -m datasets.demo`
(seed {seed}), and every label says what was computed. The corpus exists to try the whole path from
audio to evaluation in minutes; results on it say nothing about {title} or about music.
{counts}
"""


@dataclass(frozen=True)
class Settings:
    """What a demo corpus is made from; the same settings give the same corpus."""

    dataset: str
    recordings: int
    seconds: float
    seed: int
    version: int = VERSION


@dataclass(frozen=True)
class Summary:
    """What is in a demo corpus, and how many of its recordings this call made."""

    made: int
    splits: dict[str, int]
    tags: int  # in the training set

    def __str__(self) -> str:
        splits = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        return f"{sum(self.splits.values())} recordings ({splits}) with {self.tags} tags"


def make_corpus(settings: Settings, out: Path) -> Summary:
    """Make a demo corpus, or what is missing of it.

    Files are written beside and renamed, and the labels last, so a call that was interrupted is
    finished by the same call.

    Args:
        settings: which corpus.
        out: its directory, created if need be.

    Raises:
        UsageError: `out` holds something else, or the settings cannot be met.
        DataError: `out` cannot be created.
    """
    recipe = RECIPES[settings.dataset]
    rng = generator(settings.seed, settings.dataset)
    entries = name(settings.dataset, design(recipe, settings.recordings, settings.seconds, rng), rng)
    claim(out, MARKER, {"synthetic": True, **asdict(settings)})
    missing = [entry for entry in entries if not (out / entry.file).exists()]
    for folder in {(out / entry.file).parent for entry in missing}:
        remove_stale_parts(make_directory(folder))
    for entry in tqdm(missing, desc=f"synthetic {settings.dataset}", unit="recording", disable=not missing):
        _write_recording(entry, settings, out)
    summary = _summary(entries, len(missing))
    write_labels(settings.dataset, entries, out)
    _write_readme(settings, summary, out)
    return summary


def _write_recording(entry: Entry, settings: Settings, out: Path) -> None:
    recipe = RECIPES[settings.dataset]
    recording = entry.recording
    stage = Stage(recording.seconds, generator(settings.seed, settings.dataset, recording.number))
    sound = recipe.perform(recording.choice, stage)
    if DATASETS[settings.dataset].has_audio:
        data = _mp3(sound, recipe)
    else:
        data = _spectrogram(sound, fortran_order=recording.number % 2 == 0)
    with atomic_write(out / entry.file) as file:
        file.write(data)


def _mp3(sound: np.ndarray, recipe: Recipe) -> bytes:
    # A stereo file has the sound off the middle, so that only the mean of its channels is the recording.
    channels = sound if recipe.channels == 1 else np.stack([sound, 0.7 * sound], axis=1)
    file = io.BytesIO()
    soundfile.write(file, channels, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()


def _spectrogram(sound: np.ndarray, fortran_order: bool) -> bytes:
    """The `.npy` file of a recording's mel-spectrogram; Lyra's own come in either memory order."""
    spectrogram = mel_spectrogram(soxr.resample(sound, SAMPLE_RATE, SPECTROGRAM.sample_rate, quality="HQ"))
    file = io.BytesIO()
    np.save(file, np.asarray(spectrogram, np.float32, order="F" if fortran_order else "C"))
    return file.getvalue()


def _summary(entries: list[Entry], made: int) -> Summary:
    splits = {split: sum(entry.split == split for entry in entries) for split in SPLITS}
    tags = {tag for entry in entries if entry.split == "train" for tag in entry.recording.tags}
    return Summary(made, splits, len(tags))


def _write_readme(settings: Settings, summary: Summary, out: Path) -> None:
    title = DATASETS[settings.dataset].title
    headline = f"SYNTHETIC demo corpus in the on-disk layout of {title}"
    text = _README.format(title=title, underline="=" * len(headline), seed=settings.seed, counts=f"It has {summary}.")
    with atomic_write(out / "README.txt", "w", encoding="utf-8") as file:
        file.write(text)
