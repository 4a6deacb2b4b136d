"""Mutated files: each is read right or refused in one line; nothing crashes, hangs or takes memory.

Each case runs the readers in a process of its own whose memory is limited, so that a crash, an
endless loop or an allocation by a damaged size is seen. `python -m tests.test_fuzz KIND SEED COUNT`
repeats one by hand and prints what became of the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 400 * 2**20  # bytes that reading the mutants of a process may take beyond what the libraries do
SECONDS = 10.0  # that one file may take on a busy machine


def mutate(content: bytes, generator: random.Random) -> bytes:
    """One to four changes of the kinds that broken disks, transfers and editors (and attackers) make."""
    data = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4))):
        position = generator.randrange(len(data)) if data else 0
        if generator.random() < 0.5:  # headers matter more than their share of the bytes
            position = min(position, generator.randrange(200))
        kind = generator.randrange(9)
        if kind == 0 and data:
            data[position] ^= 1 << generator.randrange(8)
        elif kind == 1 and data:
            data[position] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
        elif kind == 2:
            del data[position:]
        elif kind == 3:
            del data[position : position + generator.choice((1, 2, 8, 100))]
        elif kind == 4:
            data[position:position] = generator.randbytes(generator.choice((1, 2, 8, 100)))
        elif kind == 5:
            data[position : position + 4] = struct.pack("<I", generator.choice((0, 2**31 - 1, 2**32 - 1, 10**9)))
        elif kind == 6:
            data[position : position + 8] = struct.pack("<Q", generator.choice((2**63 - 1, 2**64 - 1, 10**12)))
        elif kind == 7:
            other = generator.randrange(len(data)) if data else 0
            data[position : position + 64] = data[other : other + 64]
        else:
            data += data[position:][:1000]
    return bytes(data)


def mutate_digits(content: bytes, generator: random.Random) -> bytes:
    """Change a number that is written out, as in a `.npy` header or JSON."""
    places = [i for i, byte in enumerate(content[:4000]) if 48 <= byte <= 57]
    if not places:
        return mutate(content, generator)
    place = generator.choice(places)
    new = generator.choice((b"-1", b"0", b"1e9", b"9" * 12, b"9" * 25, b"0.5", b"True", b"[]", b"NaN", b"9" * 5000))
    return content[:place] + new + content[place + 1 :]


def mutate_archive(content: bytes, generator: random.Random) -> bytes:
    """Change a record of a zip archive and give it a proper checksum, as an attacker would."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive"
        path.write_bytes(content)
        with zipfile.ZipFile(path) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        name = generator.choice([name for name in records if name.endswith(".pkl")] * 4 + list(records))
        if generator.random() < 0.1:
            records.pop(name)
        else:
            records[name] = mutate(records[name], generator)
        with zipfile.ZipFile(path, "w") as archive:
            for name, record in records.items():
                archive.writestr(name, record)
        return path.read_bytes()


# --- the readers: each returns what it has read, for comparison --------------------------------


def read_spectrogram(path: Path) -> object:
    from datasets.spectrograms import read_header

    header = read_header(path)
    frames = header.read(0, min(header.n_frames, 500))
    assert frames.shape[1] == 128 and frames.dtype == "float32"
    return frames.shape


def read_split(path: Path) -> object:
    from datasets.metadata import read_ids

    ids = read_ids(path)
    assert all(isinstance(id_, str) for id_ in ids)
    return ids


def read_corpus(path: Path) -> object:
    """A whole corpus, one of whose split or label files is the mutant."""
    from datasets import open_corpus
    from datasets.corpus import is_safe_id

    folder = path.parent
    dataset = {"training.tsv": "lyra", "binary.npy": "magnatagatune"}.get(path.name, "makam")
    if (folder / "tags.npy").exists():
        dataset = "magnatagatune"
    corpus = open_corpus(dataset, folder.parent, skip_missing=True)
    for split in corpus.splits:
        assert all(is_safe_id(id_) for id_ in split.ids)
        assert split.labels.shape == (len(split.ids), len(corpus.tags)) and set(split.labels.ravel()) <= {0, 1}
    return corpus.tags


def digest(tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def read_checkpoint(path: Path) -> object:
    from models.checkpoints import load_checkpoint, restore_model

    checkpoint = load_checkpoint(path)
    restore_model(checkpoint, "musicnn", 3)
    return [(name, digest(tensor)) for name, tensor in checkpoint.state_dict.items()], checkpoint.info


def read_state(path: Path) -> object:
    from training.state import check_identity, load_state

    state = load_state(path)
    check_identity(state.identity, {"seed": 0}, path)
    return state.epoch, state.history, [(name, digest(tensor)) for name, tensor in state.model.items()]


def read_evaluation(path: Path) -> object:
    from evaluation.reports import read_report, read_scores

    read_report(path)
    return read_scores(path).ids


# --- the originals ----------------------------------------------------------------------------


def make_spectrogram(folder: Path) -> Path:
    import numpy as np

    from tests.corpora import write_spectrogram

    write_spectrogram(folder / "a.npy", np.random.default_rng(0).normal(-40, 10, (40, 128)), fortran=True)
    return folder / "a.npy"


def make_metadata_corpus(folder: Path, file: str = "metadata.npy") -> Path:
    from tests.corpora import make_corpus

    make_corpus(folder / "corpus", counts=(6, 3, 3), n_frames=5)
    return folder / "corpus" / "split" / file


def make_lyra(folder: Path) -> Path:
    split = folder / "corpus" / "split"
    split.mkdir(parents=True)
    rows = [f"id-{i}\tlaouto|violin\tNisiotika\t{'None' if i % 3 else 'Naxos'}" for i in range(30)]
    header = "id\tinstruments\tgenres\tplace"
    (split / "training.tsv").write_text("\n".join([header, *rows[:20]]) + "\n")
    (split / "test.tsv").write_text("\n".join([header, *rows[20:]]) + "\n")
    return split / "training.tsv"


def make_magnatagatune(folder: Path, file: str) -> Path:
    import numpy as np

    split = folder / "corpus" / "split"
    split.mkdir(parents=True)
    np.save(split / "tags.npy", np.array(["guitar", "piano", "slow"]))
    np.save(split / "binary.npy", (np.arange(36).reshape(12, 3) % 2).astype(np.int64))
    for name, rows in (("train", range(6)), ("valid", range(6, 9)), ("test", range(9, 12))):
        np.save(split / f"{name}.npy", np.array([f"{row}\tfolder/clip-{row}.mp3" for row in rows]))
    return split / file


def make_checkpoint(folder: Path) -> Path:
    from models import build_model
    from models.checkpoints import CheckpointInfo, save_checkpoint

    model = build_model("musicnn", 3)
    info = CheckpointInfo(
        model="musicnn",
        model_name="musicnn",
        dataset="makam",
        tags=("a", "b", "c"),
        settings=model.settings,
        input_frames=187,
        normalisation=None,
        epoch=1,
        metrics={"valid_loss": 0.5},
        seed=0,
        training={"identity": {"seed": 0}, "epochs": 1},
        data_fingerprint="0" * 64,
        source=None,
        versions={},
    )
    save_checkpoint(folder / "musicnn.pth", model.state_dict(), info)
    return folder / "musicnn.pth"


def make_state(folder: Path) -> Path:
    import torch

    from training.history import COLUMNS
    from training.state import TrainingState, save_state

    layer = torch.nn.Linear(20, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(2, 20)).sum().backward()
    optimizer.step()
    weights = layer.state_dict()
    rows = [dict.fromkeys(COLUMNS, 0.5) | {"epoch": 1, "best": True}]
    state = TrainingState({"seed": 0}, epoch=2, best_epoch=1, best=weights, history=rows, model=weights)
    state.optimizer, state.random = optimizer.state_dict(), {"cpu": torch.get_rng_state()}
    save_state(folder / "musicnn.resume", state)
    return folder / "musicnn.resume"


def make_evaluation(folder: Path) -> Path:
    import numpy as np

    from evaluation.metrics import evaluate_scores
    from evaluation.recording_scores import RecordingScores
    from evaluation.reports import write_report

    generator = np.random.default_rng(0)
    labels = (np.arange(30).reshape(10, 3) % 2).astype(np.uint8)
    scores = generator.random((10, 3), dtype=np.float32)
    recordings = RecordingScores(tuple(f"r{i}" for i in range(10)), ("a", "b", "c"), labels, scores)
    metrics = evaluate_scores(labels, scores, recordings.tags)
    return write_report(folder, "makam", "musicnn", metrics, recordings, {"checkpoint_sha256": "0" * 64}).json


# What is mutated: how it is made, how it is read, and in which further ways it is changed.
KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object], tuple]] = {
    "spectrogram": (make_spectrogram, read_spectrogram, (mutate_digits,)),
    "split": (lambda folder: make_metadata_corpus(folder, "train.npy"), read_split, (mutate_digits,)),
    "corpus of a split": (lambda folder: make_metadata_corpus(folder, "valid.npy"), read_corpus, (mutate_digits,)),
    "metadata": (make_metadata_corpus, read_corpus, (mutate_digits,)),
    "lyra": (make_lyra, read_corpus, ()),
    "magnatagatune labels": (lambda folder: make_magnatagatune(folder, "binary.npy"), read_corpus, (mutate_digits,)),
    "magnatagatune lines": (lambda folder: make_magnatagatune(folder, "train.npy"), read_corpus, (mutate_digits,)),
    "checkpoint": (make_checkpoint, read_checkpoint, (mutate_archive,)),
    "state": (make_state, read_state, (mutate_archive, mutate_archive, mutate_archive)),
    "evaluation": (make_evaluation, read_evaluation, (mutate_digits,)),
}
CHECKSUMMED = ("checkpoint", "state")  # an accident must not change what is read; an attacker may


def fuzz(kind: str, seed: int, count: int, seconds: float) -> dict[str, object]:
    """Mutate and read; what became of the files. Stops after `seconds`."""
    from runtime.errors import UserError

    make, read, others = KINDS[kind]
    read_right = refused = 0
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder))
        original = path.read_bytes()
        expected = read(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        limit = _address_space() + MEMORY
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limits[1]))
        end = time.monotonic() + seconds
        for number in range(count):
            generator = random.Random(f"{kind} {seed} {number}")
            change = generator.choice((mutate, *others))
            path.write_bytes(change(original, generator))
            started = time.monotonic()
            try:
                found = read(path)
                read_right += 1
                if change is mutate and kind in CHECKSUMMED:
                    assert found == expected, f"{number}: read, but not as it was written"
            except UserError as error:
                line = str(error)
                assert "\n" not in line and len(line) < 1000, f"{number}: {line!r}"
                refused += 1
            except BaseException as error:
                raise AssertionError(f"{kind}, seed {seed}, file {number}: {type(error).__name__}: {error}") from error
            slowest = max(slowest, time.monotonic() - started)
            if time.monotonic() > end:
                break
        resource.setrlimit(resource.RLIMIT_AS, limits)  # the next kind may have libraries to import
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "kind": kind,
        "seed": seed,
        "files": read_right + refused,
        "read": read_right,
        "refused": refused,
        "slowest_s": round(slowest, 3),
        "memory_mib": grown // 1024,
    }


def _address_space() -> int:
    """Bytes of address space that this process has."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 8 * 2**30
    return pages * os.sysconf("SC_PAGE_SIZE")


def run_fuzz(kinds: list[str], seed: int, count: int, seconds: float) -> list[dict[str, object]]:
    """`fuzz` for each kind, in one process of its own."""
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "tests.test_fuzz",
        ",".join(kinds),
        str(seed),
        str(count),
        str(seconds),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    limit = 60 + len(kinds) * (seconds + 5 * SECONDS)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=limit)
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["kind"] for result in results] == kinds
    for result in results:
        assert result["slowest_s"] < SECONDS
        assert result["refused"] > 0, "no mutant was damaged enough to be noticed"
    return results


def test_a_few_hundred_mutants_are_read_right_or_refused():
    results = run_fuzz(list(KINDS), seed=1, count=40, seconds=1.5)
    assert sum(result["files"] for result in results) >= 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_mutants_are_read_right_or_refused(kind):
    for result in run_fuzz([kind], seed=int(os.environ.get("FUZZ_SEED", "2")), count=2000, seconds=60.0):
        print(json.dumps(result))


def main() -> None:
    kinds, seed, count = sys.argv[1:4]
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 600.0
    for kind in kinds.split(","):
        print(json.dumps(fuzz(kind, int(seed), int(count), seconds)), flush=True)


if __name__ == "__main__":
    main()
