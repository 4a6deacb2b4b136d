"""Spectrogram files: both array orders, slices, padding, and every way they can be damaged."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from datasets import data_fingerprint, open_corpus, open_recordings
from datasets.safe_numpy import load_array
from datasets.spectrograms import read_header
from runtime.errors import DataError
from tests.corpora import write_spectrogram


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(-40, 10, (300, 128)).astype(np.float32)


@pytest.mark.parametrize("fortran", [True, False])
@pytest.mark.parametrize(("start", "count"), [(0, 300), (17, 230), (299, 1), (250, 100), (300, 5)])
def test_a_slice_equals_numpys_in_either_order(tmp_path, values, fortran, start, count):
    path = tmp_path / "a.npy"
    write_spectrogram(path, values, fortran=fortran)
    assert np.isfortran(np.load(path)) == fortran
    header = read_header(path)
    assert header.n_frames == 300
    whole = np.concatenate([np.load(path).T, np.full((200, 128), -100, np.float32)])
    np.testing.assert_array_equal(header.read(start, count), whole[start : start + count])


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("this is no spectrogram"),
        lambda path: np.save(path, np.zeros((300, 128), np.float32)),
        lambda path: np.save(path, np.zeros((128, 0), np.float32)),
        lambda path: np.save(path, np.zeros((1, 128, 30), np.float32)),
        lambda path: np.save(path, np.zeros((128, 30), np.int16)),
        lambda path: np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True),
        lambda path: path.mkdir(),
    ],
)
def test_a_file_that_is_no_spectrogram_is_refused(tmp_path, make):
    path = tmp_path / "a.npy"
    make(path)
    with pytest.raises(DataError) as error:
        read_header(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_header_that_claims_more_than_the_file_holds_is_refused_before_reading(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (128, 1000000000000), }".ljust(117) + b"\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(1000))
    with pytest.raises(DataError, match="truncated"):
        read_header(path)


def test_a_truncated_file_is_refused(tmp_path, values):
    path = tmp_path / "a.npy"
    write_spectrogram(path, values)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DataError, match="truncated"):
        read_header(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_told_when_read(tmp_path, values, bad):
    values[100, 5] = bad
    write_spectrogram(tmp_path / "a.npy", values)
    header = read_header(tmp_path / "a.npy")
    header.read(101, 50)
    with pytest.raises(DataError, match="NaN"):
        header.read(90, 20)


def test_a_file_removed_truncated_or_replaced_in_use_is_told(tmp_path, values):
    path = tmp_path / "a.npy"
    write_spectrogram(path, values)
    header = read_header(path)
    os.truncate(path, 1000)
    with pytest.raises(DataError, match="changed while it was in use"):
        header.read(0, 10)
    path.unlink()
    with pytest.raises(DataError, match="removed while it was in use"):
        header.read(0, 10)
    write_spectrogram(path, values[:200])
    with pytest.raises(DataError, match="changed while it was in use"):
        header.read(0, 10)


def test_missing_spectrograms_are_listed_or_left_out(corpus_dir):
    corpus = open_corpus("makam", corpus_dir)
    for name in ("train-003", "train-007"):
        (corpus_dir / "mel-spectrograms" / f"{name}.npy").unlink()
    with pytest.raises(DataError, match=r"^2 of the 12 spectrograms .*train-003, train-007.*--skip_missing"):
        open_recordings(corpus.train)
    recordings = open_recordings(corpus.train, skip_missing=True)
    assert recordings.skipped == ("train-003", "train-007")
    kept = [i for i, id_ in enumerate(corpus.train.ids) if id_ not in recordings.skipped]
    np.testing.assert_array_equal(recordings.labels, corpus.train.labels[kept])
    assert [file.path.stem for file in recordings.files] == list(recordings.ids)


def test_a_damaged_spectrogram_is_an_error_even_when_missing_ones_are_skipped(corpus_dir):
    path: Path = corpus_dir / "mel-spectrograms" / "train-001.npy"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"train-001\.npy"):
        open_recordings(open_corpus("makam", corpus_dir).train, skip_missing=True)


def test_the_fingerprint_changes_with_ids_labels_lengths_and_tags(corpus_dir):
    corpus = open_corpus("makam", corpus_dir)
    train = open_recordings(corpus.train)
    original = data_fingerprint(corpus, [train])
    assert original == data_fingerprint(corpus, [open_recordings(open_corpus("makam", corpus_dir).train)])
    write_spectrogram(corpus_dir / "mel-spectrograms" / "train-000.npy", np.zeros((77, 128)))
    assert data_fingerprint(corpus, [open_recordings(corpus.train)]) != original
    train.labels[0, 0] ^= 1
    assert data_fingerprint(corpus, [train]) != original


@pytest.mark.parametrize(
    ("type_", "shape", "n_bytes"),
    [
        ("'<f4'", "(True, True)", 4),
        ("('<f4', (128, 10))", "()", 5120),
        ("'|V0'", "(128, 99999999999)", 0),
        ("'<U0'", "(99999999999,)", 0),
        ("'|S0'", "(3,)", 0),
    ],
)
def test_a_header_that_numpy_never_writes_is_refused_by_both_readers(tmp_path, type_, shape, n_bytes):
    header = f"{{'descr': {type_}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(n_bytes))
    for read in (read_header, load_array):
        with pytest.raises(DataError, match="impossible"):
            read(path)
