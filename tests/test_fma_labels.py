"""FMA's labels from the corpus' own release are those of the published metadata.npy.

`fma_genres.csv` is genres.csv of the release (Defferrard et al., CC BY 4.0), 163 genres.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datasets.safe_numpy import load_metadata
from preprocessing import fma_labels
from runtime.errors import DataError, UsageError

GENRES = Path(__file__).with_name("fma_genres.csv")


def write_tracks(path: Path, tracks: dict[int, tuple[str, str, str]], biography: str = 'He said "hi",\n\nthen left.'):
    """A `tracks.csv` as the release has it, written by pandas: id → subset, genres, genres_all."""
    columns = pd.MultiIndex.from_tuples(
        [
            ("album", "title"),
            ("artist", "bio"),
            ("set", "split"),
            ("set", "subset"),
            ("track", "genre_top"),
            ("track", "genres"),
            ("track", "genres_all"),
            ("track", "title"),
        ]
    )
    rows = [
        ("An album", biography, "training", subset, None, genres, genres_all, "Überraschung")
        for subset, genres, genres_all in tracks.values()
    ]
    pd.DataFrame(rows, columns=columns, index=pd.Index(tracks, name="track_id")).to_csv(path)


def make_release(folder: Path, tracks: dict[int, tuple[str, str, str]], **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_tracks(folder / "tracks.csv", tracks, **options)
    (folder / "genres.csv").write_bytes(GENRES.read_bytes())
    return folder


def make(release: Path, data_dir: Path, *more: str) -> dict[str, list[str] | None]:
    fma_labels.main(["--metadata", str(release), "--data_dir", str(data_dir), *more])
    return load_metadata(data_dir / "split" / "metadata.npy")


TRACKS = {
    2: ("small", "[21]", "[21]"),
    93032: ("medium", "[25, 66]", "[25, 66, 12]"),
    93986: ("medium", "[25, 27, 85]", "[25, 27, 85, 12]"),
    93362: ("medium", "[400]", "[]"),  # Chill-out < House < Electronic
    140000: ("large", "[3]", "[3]"),
    150000: ("medium", "[]", "[]"),
}


def test_official_layout_has_three_header_rows(tmp_path):
    with (make_release(tmp_path, TRACKS) / "tracks.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:3] == ["album", "artist"]
    assert rows[1][1:3] == ["title", "bio"]
    assert rows[2][0] == "track_id"
    assert set(rows[2][1:]) == {""}


def test_labels_are_titles_of_genres_and_ancestors(tmp_path):
    labels = make(make_release(tmp_path / "release", TRACKS), tmp_path / "fma")
    assert labels == {
        "000002": ["Hip-Hop"],
        "093032": ["Punk", "Rock", "Indie-Rock"],
        "093986": ["Punk", "Rock", "Lo-Fi", "Garage"],
        "093362": ["Chill-out", "House", "Electronic"],
        "150000": [],
    }


@pytest.mark.parametrize(("subset", "count"), [("small", 1), ("medium", 5), ("large", 6)])
def test_subset_contains_the_smaller_ones(tmp_path, subset, count):
    labels = make(make_release(tmp_path / "release", TRACKS), tmp_path / "fma", "--subset", subset)
    assert len(labels) == count


def test_archive_gives_the_same_as_the_folder(tmp_path):
    release = make_release(tmp_path / "release", TRACKS)
    archive = tmp_path / "fma_metadata.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_BZIP2) as file:
        for name in ("tracks.csv", "genres.csv"):
            file.write(release / name, f"fma_metadata/{name}")
    assert make(archive, tmp_path / "a") == make(release, tmp_path / "b")


def test_long_biography_does_not_matter(tmp_path):
    release = make_release(tmp_path / "release", {2: ("medium", "[21]", "[21]")}, biography="long, " * 50_000)
    assert make(release, tmp_path / "fma") == {"000002": ["Hip-Hop"]}


def test_published_labels_are_reproduced(tmp_path, published_splits, capsys):
    """From the leaves of each track's published genres, the release's tree gives back all 25,000 label sets."""
    published = load_metadata(published_splits / "fma" / "metadata.npy")
    with GENRES.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = {row["title"]: row["genre_id"] for row in rows}
    parents = {row["title"]: next((r["title"] for r in rows if r["genre_id"] == row["parent"]), None) for row in rows}
    tracks = {}
    for track, titles in published.items():
        inner = {parents[title] for title in titles}
        leaves = [ids[title] for title in titles if title not in inner]
        tracks[int(track)] = ("medium", f"[{', '.join(leaves)}]", "[]")
    data_dir = tmp_path / "fma"
    labels = make(make_release(tmp_path / "release", tracks), data_dir)
    assert {track: set(titles) for track, titles in labels.items()} == {k: set(v) for k, v in published.items()}
    # Where the published file is in place, the script itself says how the two compare.
    (data_dir / "split" / "metadata.npy").write_bytes((published_splits / "fma" / "metadata.npy").read_bytes())
    make(tmp_path / "release", data_dir, "--overwrite")
    assert "25000 of these tracks, 0 with other labels" in capsys.readouterr().out


def test_file_that_is_there_is_compared_and_kept(tmp_path, capsys):
    release = make_release(tmp_path / "release", TRACKS)
    target = tmp_path / "fma" / "split" / "metadata.npy"
    target.parent.mkdir(parents=True)
    np.save(target, {"000002": ["Hip-Hop"], "093032": ["Jazz"], "777777": ["Rock"]}, allow_pickle=True)
    before = target.read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        make(release, tmp_path / "fma")
    assert target.read_bytes() == before
    assert "2 of these tracks, 1 with other labels: 093032" in capsys.readouterr().out
    assert len(make(release, tmp_path / "fma", "--overwrite")) == 5


def damaged_releases() -> dict[str, tuple[str, str | None, str]]:
    """What is wrong → file, its content (None: absent), part of the message."""
    header = ",set,track,track\n,subset,genres,genres_all\ntrack_id,,,\n"
    return {
        "no tracks": ("tracks.csv", None, "no tracks.csv"),
        "no genres": ("genres.csv", None, "no genres.csv"),
        "empty": ("tracks.csv", "", "no column set.subset"),
        "one header row": ("tracks.csv", "track_id,subset,genres\n2,medium,[21]\n", "no column set.subset"),
        "not a list": ("tracks.csv", header + "2,medium,Rock,[]\n", "line 4"),
        "not an id": ("tracks.csv", header + "two,medium,[21],[]\n", "line 4"),
        "short row": ("tracks.csv", header + "2,medium\n", "line 4"),
        "unknown genre": ("tracks.csv", header + "2,medium,[9999],[]\n", "9999"),
        "no such subset": ("tracks.csv", header + "2,large,[21],[]\n", "no track of the subset"),
        "other columns": ("genres.csv", "id,name\n1,Rock\n", "no column genre_id"),
        "loop": ("genres.csv", "genre_id,parent,title\n1,2,A\n2,1,B\n", "goes in circles"),
        "orphan": ("genres.csv", "genre_id,parent,title\n21,7,A\n", "leads? to 7"),
        "genre id": ("genres.csv", "genre_id,parent,title\nx,0,A\n", "not a number"),
        "not text": ("tracks.csv", header + "2,medium,[21],[]\udcff\n", "damaged"),
    }


@pytest.mark.parametrize("what", damaged_releases())
def test_damaged_release_is_one_line(tmp_path, what):
    name, content, message = damaged_releases()[what]
    release = make_release(tmp_path / "release", TRACKS)
    (release / name).unlink()
    if content is not None:
        (release / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        make(release, tmp_path / "fma")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "fma" / "split" / "metadata.npy").exists()


def test_file_that_is_no_archive_is_one_line(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"<html>")
    script = Path(fma_labels.__file__)
    for archive in ("a.zip", "b.zip"):
        command = [sys.executable, script, "--metadata", tmp_path / archive, "--data_dir", tmp_path]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
