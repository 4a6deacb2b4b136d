"""`python -m benchmarks.real_music_corpus`: a corpus of real, freely licensed music from Debian packages.

The demo corpora are synthetic; this one runs the whole path on recorded music. It cuts the music of
whichever packages of `real_music_packages` are installed into clips, encodes them to mp3 in the
layout of one of the corpora that have audio, and tags them with what is known: game, composer and
genre. All clips of a track are in the same split. For a transfer, make two corpora from different
packages:

    apt-get install wesnoth-1.16-music hyperrogue-music planetblupi-music-ogg asc-music frozen-bubble-data
    python -m benchmarks.real_music_corpus --dataset fma --out A --packages wesnoth-1.16-music hyperrogue-music
    python -m benchmarks.real_music_corpus --dataset makam --out B --packages planetblupi-music-ogg asc-music \
        frozen-bubble-data
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import uuid
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from benchmarks.real_music_packages import PACKAGES, SHARE, Track, installed_tracks
from config import DATASETS
from datasets.demo.design import Recording
from datasets.demo.layouts import SPLITS, Entry, write_labels
from datasets.demo.marker import claim
from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import DataError, UsageError, run_script

MARKER = "real_music_corpus.json"
_PATTERN = ("train", "test", "valid", "train", "train", "train", "test", "train", "train", "valid")
_SHORTEST = 5.0  # s, of a track that is used
_SILENCE = 1e-3  # peak of a clip that is left out

_README = """\
Music from Debian packages, cut into clips and encoded to mp3, in the on-disk layout of {title}.

Tags say what is known of a piece: the game it was made for, its composer, its genre. `tracks.tsv`
names each clip's source file. Licences (see /usr/share/doc/<package>/copyright):
{licences}
Clips are derived from these works and stay under their licences.
"""


@dataclass(frozen=True)
class Clip:
    """A cut of a track."""

    track: Track
    split: str
    start: float  # s
    seconds: float
    tags: tuple[str, ...]


def split_tracks(tracks: list[Track]) -> dict[Path, str]:
    """The split of each track: among those of a composer (or game, where unknown) train, test and valid in turn."""
    groups: dict[str, list[Track]] = defaultdict(list)
    for track in tracks:
        groups[track.composer or track.package.game].append(track)
    return {track.path: _PATTERN[i % len(_PATTERN)] for group in groups.values() for i, track in enumerate(group)}


def vocabulary(tracks: list[Track], splits: dict[Path, str]) -> set[str]:
    """The tags that some but not all tracks of every split have, so that each can be learnt and evaluated.

    Raises:
        DataError: there is none.
    """
    by_split = [[set(track.tags) for track in tracks if splits[track.path] == split] for split in SPLITS]
    tags = {
        tag
        for tag in set().union(*(track.tags for track in tracks))
        if all(any(tag in t for t in split) and any(tag not in t for t in split) for split in by_split)
    }
    if not tags:
        raise DataError("no tag has tracks with and without it in all three splits; take more packages")
    return tags


def cut(tracks: list[Track], clip_seconds: float, clips_per_track: int) -> list[Clip]:
    """Clips evenly spaced over each track; a track shorter than a clip is one clip."""
    tracks = [track for track in tracks if track.seconds >= _SHORTEST]
    splits = split_tracks(tracks)
    known = vocabulary(tracks, splits)
    clips = []
    for track in tracks:
        count = max(1, min(clips_per_track, int(track.seconds / clip_seconds)))
        tags = tuple(tag for tag in track.tags if tag in known)
        for i in range(count):
            start = i * track.seconds / count
            clips.append(Clip(track, splits[track.path], start, min(clip_seconds, track.seconds - start), tags))
    return clips


def name_clips(dataset: str, clips: list[Clip]) -> list[Entry]:
    """Give each clip an identifier and a file as the corpus `dataset` would."""
    entries = []
    for number, clip in enumerate(clips, start=1):
        recording = Recording(number, clip.split, {}, clip.tags, clip.seconds)
        if dataset == "magnatagatune":
            folder = {"train": "0", "valid": "c", "test": "f"}[clip.split]
            title = re.sub(r"[^a-z0-9]+", "_", f"{clip.track.package.name} {clip.track.path.stem}".lower())
            identifier = f"{title}-{clip.start:.0f}-{clip.start + clip.seconds:.0f}"
            file = Path("audios", folder, f"{identifier}.mp3")
        elif dataset == "fma":
            identifier = f"{number:06d}"
            file = Path("audios", identifier[:3], f"{identifier}.mp3")
        else:
            identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{clip.track.path}#{clip.start:.3f}"))
            file = Path("audios", f"{identifier}.mp3")
        entries.append(Entry(recording, identifier, file))
    return entries


def encode(clip: Clip) -> bytes | None:
    """A clip as mp3, at its source's sampling rate and with its channels; None if it is silent.

    Raises:
        DataError: the track cannot be decoded.
    """
    try:
        with soundfile.SoundFile(clip.track.path) as file:
            rate = file.samplerate
            file.seek(int(clip.start * rate))
            samples = file.read(int(clip.seconds * rate), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise DataError(f"cannot decode {clip.track.path} ({error}); reinstall {clip.track.package.name}") from error
    if np.max(np.abs(samples), initial=0.0) < _SILENCE:
        return None
    mp3 = io.BytesIO()
    soundfile.write(mp3, np.clip(samples, -1, 1), rate, format="MP3", subtype="MPEG_LAYER_III")
    return mp3.getvalue()


def make_corpus(dataset: str, tracks: list[Track], out: Path, clip_seconds: float, clips_per_track: int) -> list[Entry]:
    """Cut and encode the tracks and write the labels; returns what the corpus consists of.

    An interrupted call is finished by the same call: clips that are there are kept.

    Raises:
        UsageError: `out` holds something else.
        DataError: a track cannot be decoded, or the tracks are too few for a split.
    """
    clips = cut(tracks, clip_seconds, clips_per_track)
    named = name_clips(dataset, clips)
    packages = sorted({track.package.name for track in tracks})
    settings = {"dataset": dataset, "packages": packages, "clip_seconds": clip_seconds, "clips": clips_per_track}
    claim(out, MARKER, settings)
    kept: list[tuple[Clip, Entry]] = []
    for clip, entry in tqdm(list(zip(clips, named, strict=True)), desc="clips of real music", unit="clip"):
        path = out / entry.file
        if not path.exists():
            mp3 = encode(clip)
            if mp3 is None:
                continue
            make_directory(path.parent)
            with atomic_write(path) as file:
                file.write(mp3)
        kept.append((clip, entry))
    write_labels(dataset, [entry for _, entry in kept], out)
    _write_sources(dataset, kept, out)
    return [entry for _, entry in kept]


def _write_sources(dataset: str, kept: list[tuple[Clip, Entry]], out: Path) -> None:
    """`tracks.tsv`, the source of each clip, and `README.txt` with the licences."""
    with atomic_write(out / "tracks.tsv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(("id", "split", "package", "licence", "file", "start", "seconds", "tags"))
        for clip, entry in kept:
            source = (clip.track.package.name, clip.track.package.licence, clip.track.path.name)
            cut_at = (f"{clip.start:.3f}", f"{clip.seconds:.3f}")
            table.writerow((entry.id, clip.split, *source, *cut_at, "|".join(clip.tags)))
    packages = sorted({clip.track.package.name for clip, _ in kept})
    licences = "\n".join(f"- {name}: {PACKAGES[name].licence}" for name in packages)
    with atomic_write(out / "README.txt", "w", encoding="utf-8") as file:
        file.write(_README.format(title=DATASETS[dataset].title, licences=licences))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_music_corpus",
        description="Make a corpus of real, freely licensed music from the Debian packages that are installed, "
        f"of {', '.join(PACKAGES)}.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    with_audio = [name for name, config in DATASETS.items() if config.has_audio]
    parser.add_argument("--dataset", required=True, choices=with_audio, help="whose layout")
    parser.add_argument("--out", required=True, type=Path, help="directory of the corpus: new, empty or to be finished")
    parser.add_argument(
        "--packages",
        nargs="+",
        metavar="PACKAGE",
        default=argparse.SUPPRESS,
        help="packages to take (default: all that are installed)",
    )
    parser.add_argument("--clip_seconds", type=float, default=30.0, help="length of a clip")
    parser.add_argument("--clips_per_track", type=int, default=6, help="most clips of a track")
    parser.add_argument("--share", type=Path, default=SHARE, help="where packages install their data")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    if args.clip_seconds < _SHORTEST or args.clips_per_track < 1:
        raise UsageError(f"--clip_seconds must be at least {_SHORTEST:g} and --clips_per_track at least 1")
    tracks = installed_tracks(getattr(args, "packages", None), args.share)
    entries = make_corpus(args.dataset, tracks, args.out, args.clip_seconds, args.clips_per_track)
    splits = ", ".join(f"{sum(entry.split == split for entry in entries)} {split}" for split in SPLITS)
    tags = sorted({tag for entry in entries for tag in entry.recording.tags})
    print(f"real music in the layout of {args.dataset} in {args.out}: {len(entries)} clips ({splits})")
    print(f"of {len(tracks)} tracks with {len(tags)} tags: {', '.join(tags)}")


if __name__ == "__main__":
    run_script(main)
