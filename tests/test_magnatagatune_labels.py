"""MagnaTagATune's files from annotations_final.csv fit each other and the published lists."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import open_corpus
from preprocessing import magnatagatune_labels
from preprocessing.download import Checksum, git_blob_sha1
from preprocessing.get_splits import published_files
from preprocessing.magnatagatune_labels import EMPTY_CLIPS, make_files, read_annotations
from runtime.errors import DataError, UsageError

N_CLIPS, N_TAGS = 25863, 188  # of the release


def write_annotations(path: Path, tags: list[str], rows: list[tuple[str, list[int]]]) -> Path:
    """An `annotations_final.csv` as the release has it: tab-separated, every cell in quotes."""
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join(f'"{name}"' for name in ["clip_id", *tags, "mp3_path"]) + "\n")
        for number, (clip, labels) in enumerate(rows):
            file.write("\t".join(f'"{cell}"' for cell in [2 * number, *labels, clip]) + "\n")
    return path


def small(path: Path) -> Path:
    """Sixteen folders of two clips each; the tags are had by 20, 12, 12 and 1 clips, one tag by none."""
    rows = []
    for folder in "0123456789abcdef":
        for _ in range(2):
            i = len(rows)
            rows.append((f"{folder}/clip-{i}-0-29.mp3", [int(i == 31), int(i < 12), int(i >= 12), int(i < 12), 0]))
    return write_annotations(path, ["rare", "b vocals", "most", "a vocal", "never"], rows)


def make(annotations: Path, data_dir: Path, *more: str) -> Path:
    magnatagatune_labels.main(["--annotations", str(annotations), "--data_dir", str(data_dir), *more])
    return data_dir / "split"


def no_checksums() -> dict[str, Checksum]:
    return dict.fromkeys(("train.npy", "valid.npy", "test.npy", "tags.npy", "binary.npy"), Checksum(""))


def test_tags_are_the_most_frequent_and_synonyms_stay(tmp_path):
    annotations = read_annotations(small(tmp_path / "annotations_final.csv"))
    columns = magnatagatune_labels.top_tags(annotations, 3)
    assert [annotations.tags[column] for column in columns] == ["most", "a vocal", "b vocals"]  # 20, 12, 12


def test_folders_decide_the_split_and_untagged_clips_are_left_out(tmp_path):
    annotations = read_annotations(small(tmp_path / "annotations_final.csv"))
    labels = annotations.labels[:, [2]]  # "most" alone: clips 12 to 31
    lists = magnatagatune_labels.split_lists(annotations.clips, labels)
    assert [line.split("\t")[1][0] for line in lists["train"]] == list("66778899aabb")
    assert lists["valid"] == ["24\tc/clip-24-0-29.mp3", "25\tc/clip-25-0-29.mp3"]
    assert {line.split("\t")[1][0] for line in lists["test"]} == set("def")
    assert [int(line.split("\t")[0]) for line in lists["test"]] == [26, 27, 28, 29, 30, 31]


def test_corpus_opens_from_the_files_made(tmp_path):
    make(small(tmp_path / "annotations_final.csv"), tmp_path / "mtt")
    corpus = open_corpus("magnatagatune", tmp_path / "mtt")
    assert corpus.tags == ("most", "a vocal", "b vocals", "rare", "never")
    assert [len(split.ids) for split in corpus.splits] == [24, 2, 6]
    assert corpus.test.ids[-1] == "clip-31-0-29"
    assert corpus.test.labels[-1].tolist() == [1, 0, 0, 1, 0]
    assert corpus.train.labels.sum(axis=0).tolist() == [12, 12, 12, 0, 0]


@pytest.fixture(scope="module")
def release(tmp_path_factory, published_splits) -> Path:
    """As many clips and tags as the release, the published validation and test clips in their rows."""
    generator = np.random.default_rng(0)
    folder = published_splits / "magnatagatune"
    tags = np.load(folder / "tags.npy").tolist()
    # The other tags are rarer; "classical guitar" is the longest name in the release.
    rest = ["classical guitar", *(f"rare tag {i}" for i in range(N_TAGS - len(tags) - 1))]
    names = [name for pair in zip(rest[:50], tags, strict=False) for name in pair] + rest[50:]
    clips = {}
    for name in ("valid", "test"):
        for line in np.load(folder / f"{name}.npy").tolist():
            row, clip = line.split("\t")
            clips[int(row)] = clip
    # Published rows have a tag; of the rest, 15,247 training clips have one.
    others = generator.permutation([row for row in range(N_CLIPS) if row not in clips]).tolist()
    tagged_rows = [*clips, *others[:15247]]
    labels = np.zeros((N_CLIPS, len(names)), dtype=int)
    position = {name: i for i, name in enumerate(names)}
    order = generator.permutation(tagged_rows)
    for rank, tag in enumerate(tags):  # strictly decreasing supports, all tagged rows covered
        labels[order[rank::50] if rank else order, position[tag]] = 1
        labels[order[: 2000 - 10 * rank], position[tag]] = 1
    for row in others:
        clips[row] = f"{'0123456789ab'[row % 12]}/made_up-{row}-0-29.mp3"
    for row, clip in zip(others[:3], sorted(EMPTY_CLIPS), strict=True):
        clips[row] = clip
    path = tmp_path_factory.mktemp("release") / "annotations_final.csv"
    return write_annotations(path, names, [(clips[row], labels[row].tolist()) for row in range(N_CLIPS)])


def test_files_are_byte_for_byte_the_published_ones(release, tmp_path, capsys):
    split_dir = make(release, tmp_path)
    published = {file.name: file.checksum for file in published_files("magnatagatune")}
    for name in ("tags.npy", "valid.npy", "test.npy"):
        assert published[name].matches((split_dir / name).read_bytes())
    output = capsys.readouterr().out
    for count in ("train  15247", "valid   1529", "test    4332"):
        assert count in output
    assert "not byte for byte the published files: binary.npy, train.npy." in output  # made-up clips, made-up labels
    assert np.load(split_dir / "binary.npy", mmap_mode="r").shape == (N_CLIPS, 50)


def test_empty_clips_leave_the_list_where_the_published_list_is_without_them(release):
    annotations = read_annotations(release)
    kept = make_files(annotations, 50, no_checksums())["train.npy"]
    audible = [line for line in _load(kept) if line.split("\t")[1] not in EMPTY_CLIPS]
    assert len(_load(kept)) - len(audible) == 3
    without = _npy(audible)
    for expected in (kept, without):
        checksums = no_checksums() | {"train.npy": Checksum(git_blob_sha1(expected))}
        assert make_files(annotations, 50, checksums)["train.npy"] == expected


def _load(content: bytes) -> list[str]:
    return np.load(io.BytesIO(content)).tolist()


def _npy(lines: list[str]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(lines))
    return file.getvalue()


def test_files_that_differ_are_kept_unless_told_otherwise(tmp_path):
    annotations = small(tmp_path / "annotations_final.csv")
    split_dir = make(annotations, tmp_path / "mtt")
    make(annotations, tmp_path / "mtt")  # the same files: nothing to ask
    np.save(split_dir / "valid.npy", np.array(["my own"]))
    before = {path.name: path.read_bytes() for path in split_dir.iterdir()}
    with pytest.raises(UsageError, match=r"valid\.npy .*--overwrite"):
        make(annotations, tmp_path / "mtt")
    assert before == {path.name: path.read_bytes() for path in split_dir.iterdir()}
    make(annotations, tmp_path / "mtt", "--overwrite")
    assert np.load(split_dir / "valid.npy")[0] == "24\tc/clip-24-0-29.mp3"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "first line"),
        ("<html>", "first line"),
        ("clip_id\tguitar\tguitar\tmp3_path\n", "first line"),
        ("clip_id,guitar,mp3_path\n1,0,0/a.mp3\n", "first line"),
        ("clip_id\tguitar\tmp3_path\n", "rows of 0 and 1"),
        ("clip_id\tguitar\tmp3_path\n1\t2\t0/a.mp3\n", "rows of 0 and 1"),
        ("clip_id\tguitar\tmp3_path\n1\tyes\t0/a.mp3\n", "not as in the release"),
        ("clip_id\tguitar\tmp3_path\n1\t0\n", "folder/file"),
        ("clip_id\tguitar\tmp3_path\n1\t1\t../../x.mp3\n", "folder/file"),
        ("clip_id\tguitar\tmp3_path\n1\t1\tg/x.mp3\n", "folder/file"),
    ],
)
def test_damaged_annotations_are_one_line(tmp_path, content, message):
    path = tmp_path / "annotations_final.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        make(path, tmp_path / "mtt")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "mtt").glob("**/*.npy"))


def test_missing_annotations_are_one_line(tmp_path):
    script = Path(magnatagatune_labels.__file__)
    command = [sys.executable, script, "--annotations", tmp_path / "none.csv", "--data_dir", tmp_path]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "is missing" in done.stderr
    assert done.stderr.count("\n") == 1
