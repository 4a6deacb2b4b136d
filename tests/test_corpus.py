"""Labels, splits and vocabularies, against the published files and hand-worked cases."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest

from config import DATASETS
from datasets import open_corpus
from datasets.corpus import label_matrix, most_frequent_tags
from datasets.lyra import split_training
from runtime.errors import DataError, UsageError


def published_tags(published_figures: Path, dataset: str) -> list[tuple[str, int]]:
    with (published_figures / "tags.csv").open(encoding="utf-8", newline="") as file:
        return [(row["tag"], int(row["test_support"])) for row in csv.DictReader(file) if row["dataset"] == dataset]


def link_splits(published_splits: Path, dataset: str, data_dir: Path) -> Path:
    data_dir.mkdir()
    (data_dir / "split").symlink_to(published_splits / dataset)
    return data_dir


@pytest.mark.parametrize("dataset", ["fma", "lyra"])
def test_vocabulary_and_support_are_the_published_ones(dataset, published_splits, published_figures, tmp_path):
    corpus = open_corpus(dataset, link_splits(published_splits, dataset, tmp_path / dataset))
    ours = list(zip(corpus.tags, corpus.test.labels.sum(axis=0).tolist(), strict=True))
    assert ours == published_tags(published_figures, dataset)


def test_fma_has_the_published_number_of_recordings(published_splits, tmp_path):
    corpus = open_corpus("fma", link_splits(published_splits, "fma", tmp_path / "fma"))
    assert [len(split.ids) for split in corpus.splits] == [17486, 2498, 4996]
    assert corpus.train.ids[0] == "104278"


def test_lyra_keeps_the_text_none_and_the_published_validation_rows(published_splits, tmp_path):
    corpus = open_corpus("lyra", link_splits(published_splits, "lyra", tmp_path / "lyra"))
    assert [len(split.ids) for split in corpus.splits] == [1116, 124, 330]
    assert corpus.test.labels[:, corpus.tags.index("place--None")].sum() == 61
    # The legacy generator's shuffle, drawn here the way NumPy 1.0 documents it.
    order = list(range(1240))
    np.random.seed(10)  # noqa: NPY002
    np.random.shuffle(order)  # noqa: NPY002
    assert split_training(1240)[1].tolist() == order[:124]


def test_ties_in_the_vocabulary_are_broken_by_code_point_and_repeats_count_once():
    lists = [["b", "a", "a"], ["b", "Z"], ["c", "Z"], []]
    assert most_frequent_tags(lists, 3) == ("Z", "b", "a")
    assert label_matrix(lists, ("Z", "b")).tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]]


def test_magnatagatune_labels_are_the_rows_the_lines_point_to(tmp_path):
    split = tmp_path / "split"
    split.mkdir()
    binary = np.eye(4, 3, dtype=np.int64)
    np.save(split / "binary.npy", binary)
    np.save(split / "tags.npy", np.array(["guitar", "slow", "choral"]))
    np.save(split / "train.npy", np.array(["3\t0/x-30-59.mp3", "1\t1/b.c-0-29.mp3"]))
    np.save(split / "valid.npy", np.array(["0\tc/v.mp3"]))
    np.save(split / "test.npy", np.array(["2\tf/t.mp3"]))
    corpus = open_corpus("magnatagatune", tmp_path)
    assert corpus.train.ids == ("x-30-59", "b.c-0-29")
    assert corpus.train.labels.tolist() == [[0, 0, 0], [0, 1, 0]]
    assert corpus.test.labels.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("binary.npy", np.zeros((4, 2)), r"clips × 3 tags"),
        ("binary.npy", np.full((4, 3), 2), "other than 0 and 1"),
        ("binary.npy", np.zeros((1, 3)), "points at row 3"),
        ("train.npy", np.array(["3 0/x.mp3"]), "TAB"),
        ("train.npy", np.array(["0\t0/v.mp3"]), "in the train and valid splits"),
        ("train.npy", np.arange(3), "not a list of ids"),
        ("tags.npy", np.array(["a", "a", "b"]), "different tags"),
        ("test.npy", np.array([], dtype="<U3"), "test split .* is empty"),
    ],
)
def test_contradicting_magnatagatune_files_are_told(tmp_path, file, content, message):
    test_magnatagatune_labels_are_the_rows_the_lines_point_to(tmp_path)
    np.save(tmp_path / "split" / file, content)
    with pytest.raises(DataError, match=message) as error:
        open_corpus("magnatagatune", tmp_path)
    assert "\n" not in str(error.value)


def test_recordings_without_tags_are_an_error_or_counted(corpus_dir):
    metadata = np.load(corpus_dir / "split" / "metadata.npy", allow_pickle=True).item()
    metadata["train-000"] = None
    del metadata["test-001"]
    np.save(corpus_dir / "split" / "metadata.npy", metadata, allow_pickle=True)
    with pytest.raises(DataError, match=r"2 recordings .* train-000, test-001.*--skip_missing"):
        open_corpus("makam", corpus_dir)
    corpus = open_corpus("makam", corpus_dir, skip_missing=True)
    assert corpus.train.unlabelled == ("train-000",) and "train-000" not in corpus.train.ids
    assert len(corpus.test.ids) == len(corpus.test.labels) == 7


@pytest.mark.parametrize("bad", ["../secret", "a/b", "", ".hidden", "x\0y\x01", "a\\b", "line\nbreak", "x" * 300])
def test_ids_that_lead_out_of_the_corpus_are_refused(corpus_dir, bad):
    ids = np.load(corpus_dir / "split" / "train.npy").tolist()
    np.save(corpus_dir / "split" / "train.npy", np.array(["good", *ids, bad]))
    with pytest.raises(DataError, match="no file names"):
        open_corpus("makam", corpus_dir, skip_missing=True)


def test_an_id_listed_twice_is_told(corpus_dir):
    ids = np.load(corpus_dir / "split" / "train.npy").tolist()
    np.save(corpus_dir / "split" / "train.npy", np.array([*ids, ids[0]]))
    with pytest.raises(DataError, match="train-000 is twice in the train split"):
        open_corpus("makam", corpus_dir)


def test_a_missing_directory_and_missing_splits_say_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="no directory"):
        open_corpus("makam", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"get_splits.py --dataset makam"):
        open_corpus("makam", tmp_path)
    with pytest.raises(UsageError, match="nearest names are makam"):
        open_corpus("makan", tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "id\tinstruments\tgenres\n1\ta\tb\n", "\xff\xfe", "id\tinstruments\tgenres\tplace\n1\t2\n" * 3, "\0\0\0"],
)
def test_a_damaged_lyra_table_is_told(tmp_path, text):
    (tmp_path / "split").mkdir()
    for name in ("training", "test"):
        (tmp_path / "split" / f"{name}.tsv").write_bytes(text.encode("latin1"))
    with pytest.raises(DataError):
        open_corpus("lyra", tmp_path)


def test_every_corpus_of_the_configuration_has_a_reader():
    from datasets.corpus import _reader

    assert all(callable(_reader(dataset.layout)) for dataset in DATASETS.values())


LYRA_ROW = "id-1\tlaouto|violin\tNisiotika\tNaxos\n"


@pytest.mark.parametrize(
    "text",
    [
        "\t".join(["id", "instruments", "genres", "place"] + ["c"] * 10**6) + "\n" + LYRA_ROW,  # took pandas an hour
        "id\tinstruments\tgenres\tplace\n" + "x\t" * 10**6 + "\n",
        "id\tinstruments\tgenres\tplace\n" + "a" * 17 * 2**20,
        "id\tinstruments\tgenres\tplace\n" + "more\t" + LYRA_ROW,  # pandas takes the first cells for an index
        "id\tinstruments\tgenres\tplace\nid-1\tlaouto\n",  # and fills up what is missing
        'id\tinstruments\tgenres\tplace\nid-1\t"laouto\n',
    ],
)
def test_a_lyra_table_of_another_extent_is_refused_at_once(tmp_path, text):
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "training.tsv").write_text(text)
    started = time.monotonic()
    with pytest.raises(DataError, match=r"training.tsv.*fetch it again"):
        open_corpus("lyra", tmp_path)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("tag", ["a\x1b[31mred", "a\0b", "two\nlines", "", "t" * 501, "\ud800"])
def test_tags_that_are_no_line_of_text_are_refused(corpus_dir, tag):
    path = corpus_dir / "split" / "metadata.npy"
    metadata = np.load(path, allow_pickle=True).item()
    np.save(path, {id_: [*tags, tag] for id_, tags in metadata.items()}, allow_pickle=True)
    with pytest.raises(DataError, match="no line of text") as error:
        open_corpus("makam", corpus_dir)
    assert str(error.value).isprintable() and len(str(error.value)) < 500
