"""Corpora of real music from Debian packages: split by track, tagged with what is known, readable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.real_music_corpus import make_corpus, split_tracks
from benchmarks.real_music_packages import PACKAGES, SHARE, installed_tracks
from datasets import open_corpus
from runtime.errors import DataError, UsageError

NEEDED = ["planetblupi-music-ogg", "asc-music"]


def installed(name: str) -> bool:
    return any(SHARE.glob(PACKAGES[name].files))


@pytest.fixture
def share(tmp_path) -> Path:
    """A stand-in for /usr/share: two packages with short tones instead of music."""
    for folder, suffix, count in (("planetblupi/music", "ogg", 4), ("games/asc/music", "mp3", 3)):
        (tmp_path / "share" / folder).mkdir(parents=True)
        for number in range(count):
            tone = 0.5 * np.sin(np.arange(16_000 * 12) * 0.1 * (number + 1))
            soundfile.write(tmp_path / "share" / folder / f"track{number}.{suffix}", tone, 16_000)
    return tmp_path / "share"


def test_all_clips_of_a_track_are_in_one_split(share, tmp_path):
    entries = make_corpus("makam", installed_tracks(NEEDED, share), tmp_path / "out", 5.0, 2)
    rows = [line.split("\t") for line in (tmp_path / "out" / "tracks.tsv").read_text().splitlines()[1:]]
    assert len(rows) == len(entries) == 14
    splits = {}
    for _, split, package, _, file, *_ in rows:
        splits.setdefault((package, file), set()).add(split)
    assert len(splits) == 7
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("dataset", ["magnatagatune", "fma", "carnatic"])
def test_the_reader_of_the_layout_reads_it(share, tmp_path, dataset):
    make_corpus(dataset, installed_tracks(NEEDED, share), tmp_path / "out", 5.0, 2)
    corpus = open_corpus(dataset, tmp_path / "out")
    assert set(corpus.tags) == {"game--Planet Blupi", "game--ASC", "composer--Michael Kievernagel"}
    stems = {path.stem for path in (tmp_path / "out" / "audios").rglob("*.mp3")}
    assert stems == {recording for split in corpus.splits for recording in split.ids}
    for split in corpus.splits:
        assert np.all(split.labels.sum(axis=0) > 0)
        assert np.all(split.labels.sum(axis=0) < len(split.ids))


def test_a_clip_is_the_stated_part_of_its_track(share, tmp_path):
    tracks = installed_tracks(["asc-music", "planetblupi-music-ogg"], share)
    entries = make_corpus("fma", tracks, tmp_path / "out", 5.0, 2)
    samples, rate = soundfile.read(tmp_path / "out" / entries[1].file)
    assert (rate, len(samples)) == (16_000, 5 * 16_000)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * rate / len(samples) == pytest.approx(0.1 * rate / (2 * np.pi), abs=0.5)


def test_missing_or_unknown_packages_are_named_in_one_line(share, tmp_path):
    with pytest.raises(
        UsageError, match=r"^no music of wesnoth-1.16-music under .*; apt-get install wesnoth-1.16-music$"
    ):
        installed_tracks(["asc-music", "wesnoth-1.16-music"], share)
    with pytest.raises(UsageError, match="nothing is known of the package no-such-music"):
        installed_tracks(["no-such-music"], share)
    with pytest.raises(UsageError, match=r"^no music of planetblupi-music-ogg, .* apt-get install one or more"):
        installed_tracks(None, tmp_path / "empty")
    assert {track.package.name for track in installed_tracks(None, share)} == set(NEEDED)


def test_one_package_alone_has_no_tag_to_learn(share, tmp_path):
    with pytest.raises(DataError, match="take more packages"):
        make_corpus("fma", installed_tracks(["asc-music"], share), tmp_path / "out", 5.0, 2)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not all(map(installed, NEEDED)), reason=f"needs the Debian packages {' and '.join(NEEDED)}")
def test_real_packages_make_a_corpus(tmp_path):
    tracks = installed_tracks(NEEDED)
    splits = split_tracks(tracks)
    make_corpus("makam", tracks, tmp_path / "out", 5.0, 1)
    corpus = open_corpus("makam", tmp_path / "out")
    assert sum(len(split.ids) for split in corpus.splits) == len(tracks) == len(splits)
    assert "game--Planet Blupi" in corpus.tags
    for path in (tmp_path / "out" / "audios").glob("*.mp3"):
        samples, rate = soundfile.read(path)
        assert len(samples) == 5 * rate
        assert samples.std() > 1e-3
