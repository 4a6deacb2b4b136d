"""What is drawn: random crops that depend on seed and epoch only, and fixed chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datasets import open_corpus, open_recordings
from datasets.crops import consecutive_batches, training_batches, validation_batches
from datasets.loading import FileSource, MemorySource
from datasets.normalisation import measure_normalisation
from runtime.errors import DataError

LENGTHS = np.array([100, 230, 231, 1000, 5000, 460])
CPU = torch.device("cpu")


def test_an_epoch_draws_every_recording_once_within_its_length():
    batches = training_batches(LENGTHS, 230, 4, seed=0, epoch=1)
    drawn = np.concatenate([batch.recordings for batch in batches])
    starts = np.concatenate([batch.starts for batch in batches])
    assert sorted(drawn) == [0, 1, 2, 3, 4, 5]
    assert (starts >= 0).all() and (starts <= np.maximum(LENGTHS[drawn] - 230, 0)).all()


def test_crops_are_uniform_over_all_possible_starts():
    starts = [training_batches(np.array([239, 300]), 230, 2, 0, epoch)[0] for epoch in range(3000)]
    first = np.array([batch.starts[batch.recordings == 0][0] for batch in starts])
    counts = np.bincount(first, minlength=10)
    assert len(counts) == 10  # 239 frames hold 10 crops of 230
    assert (abs(counts - 300) < 5 * np.sqrt(300 * 0.9)).all()


def test_crops_change_with_epoch_and_seed_and_repeat_with_both():
    def flat(seed, epoch):
        return [(b.recordings.tolist(), b.starts.tolist()) for b in training_batches(LENGTHS, 230, 4, seed, epoch)]

    assert flat(0, 1) == flat(0, 1)
    assert flat(0, 1) != flat(0, 2)
    assert flat(0, 1) != flat(1, 1)


@pytest.mark.parametrize(("n", "sizes"), [(8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (3, [3]), (1, [1])])
def test_a_last_batch_of_one_joins_the_one_before(n, sizes):
    assert [len(batch) for batch in training_batches(np.full(n, 500), 230, 4, 0, 1)] == sizes


def test_validation_chunks_are_evenly_spaced_and_never_change():
    batches = validation_batches(np.array([100, 230, 689, 1000, 5000]), 230, most=4, batch_size=100)
    assert len(batches) == 1
    assert batches[0].recordings.tolist() == [0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4]
    # Hand-worked: 100 and 230 → one at 0; 689 → two, at 0 and 459; 1000 → four over 770; 5000 → four over 4770.
    assert batches[0].starts.tolist() == [0, 0, 0, 459, 0, 257, 513, 770, 0, 1590, 3180, 4770]


def test_evaluation_chunks_are_consecutive_and_drop_the_rest():
    batches = list(consecutive_batches(np.array([460, 100, 689]), 230, batch_size=3))
    assert [len(batch) for batch in batches] == [3, 2]
    recordings = np.concatenate([batch.recordings for batch in batches])
    starts = np.concatenate([batch.starts for batch in batches])
    assert recordings.tolist() == [0, 0, 1, 2, 2]
    assert starts.tolist() == [0, 230, 0, 0, 230]


@pytest.fixture
def recordings(corpus_dir):
    path = corpus_dir / "mel-spectrograms" / "train-000.npy"
    np.save(path, np.load(path)[:, :150])  # one shorter than a crop
    return open_recordings(open_corpus("makam", corpus_dir).train)


def expected_crop(recordings, index: int, start: int) -> np.ndarray:
    whole = np.load(recordings.files[index].path).T
    padded = np.concatenate([whole, np.full((230, 128), -100, np.float32)])
    return padded[start : start + 230]


@pytest.mark.parametrize("threads", [0, 3])
def test_crops_read_from_files_are_the_planned_ones(recordings, threads):
    batches = training_batches(recordings.n_frames, 230, 5, seed=1, epoch=1)
    loaded = list(FileSource(recordings, 230, CPU, threads).load(batches))
    assert [batch for batch, _, _ in loaded] == batches
    for batch, crops, labels in loaded:
        np.testing.assert_array_equal(labels.numpy(), recordings.labels[batch.recordings])
        for row, (index, start) in enumerate(zip(batch.recordings, batch.starts, strict=True)):
            np.testing.assert_array_equal(crops[row].numpy(), expected_crop(recordings, index, start))


def test_runs_of_consecutive_chunks_read_at_once_are_the_same_chunks(recordings):
    for batch, chunks, _ in FileSource(recordings, 50, CPU).load(consecutive_batches(recordings.n_frames, 50, 7)):
        for row, (index, start) in enumerate(zip(batch.recordings, batch.starts, strict=True)):
            np.testing.assert_array_equal(chunks[row].numpy(), expected_crop(recordings, index, start)[:50])


def test_crops_gathered_from_memory_are_those_of_the_files_rounded_to_float16(recordings):
    batches = training_batches(recordings.n_frames, 230, 5, seed=1, epoch=1)
    files = dict(enumerate(crops for _, crops, _ in FileSource(recordings, 230, CPU).load(batches)))
    memory = dict(enumerate(crops for _, crops, _ in MemorySource(recordings, 230, CPU).load(batches)))
    for i, crops in files.items():
        torch.testing.assert_close(memory[i], crops.half().float(), rtol=0, atol=0)
        assert (memory[i] - crops).abs().max() <= 0.03125 + 1e-6  # half a step of float16 below 128 is 1/32 dB


def test_a_damaged_spectrogram_ends_the_loading_with_its_name(recordings):
    path = recordings.files[4].path
    path.write_bytes(path.read_bytes()[:-10])
    batches = training_batches(recordings.n_frames, 230, 5, seed=1, epoch=1)
    with pytest.raises(DataError, match=path.name):
        list(FileSource(recordings, 230, CPU).load(batches))


def test_normalisation_is_exact_over_all_values(recordings):
    everything = np.concatenate([np.load(file.path).ravel() for file in recordings.files]).astype(np.float64)
    measured = measure_normalisation(recordings)
    assert measured.mean == pytest.approx(everything.mean(), abs=1e-6)
    assert measured.std == pytest.approx(everything.std(), abs=1e-5)
