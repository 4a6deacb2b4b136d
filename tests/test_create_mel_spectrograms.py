"""The script that makes mel-spectrograms: what it makes, skips, refuses and reports."""

import os
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from datasets.spectrograms import read_header
from preprocessing.mel import mel_spectrogram
from runtime.errors import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_USAGE

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "preprocessing" / "create_mel_spectrograms.py"


def tone(path: Path, seconds: float = 1.5, rate: int = 22050, pitch: float = 440.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * np.cos(time**2), rate)
    return path


def run(data_dir: Path, *options: str, dataset: str = "fma") -> subprocess.CompletedProcess:
    """The command as users give it, from another directory than the repository's."""
    command = [sys.executable, SCRIPT, "--dataset", dataset, "--data_dir", data_dir, "--workers", "2", *options]
    return subprocess.run(command, cwd=data_dir.parent, capture_output=True, text=True, timeout=120)


def names(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "mel-spectrograms").iterdir())


def error_line(done: subprocess.CompletedProcess) -> str:
    """The one line of an error, below the progress bar."""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stderr.rstrip().endswith(line)
    return line


@pytest.fixture
def corpus(tmp_path) -> Path:
    data_dir = tmp_path / "fma"
    for index in range(4):
        tone(data_dir / "audios" / f"{index // 2:03}" / f"{index:06}.mp3", pitch=220 * (index + 1))
    return data_dir


def test_spectrograms_are_those_of_the_decoded_files(corpus):
    done = run(corpus)
    assert done.returncode == 0, done.stderr
    assert "4 made, 0 skipped, 0 failed" in done.stdout
    assert names(corpus) == [f"{index:06}.npy" for index in range(4)]
    for audio in (corpus / "audios").rglob("*.mp3"):
        path = corpus / "mel-spectrograms" / f"{audio.stem}.npy"
        spectrogram = np.load(path)
        samples, _ = librosa.load(audio, sr=16000)
        expected = librosa.power_to_db(
            librosa.feature.melspectrogram(
                y=samples, sr=16000, n_fft=512, hop_length=256, n_mels=128, htk=True, norm=None, pad_mode="reflect"
            ),
            amin=1e-10,
            top_db=None,
        )
        assert spectrogram.dtype == np.float32
        assert spectrogram.shape == expected.shape
        assert np.abs(spectrogram - expected).max() <= 1e-3
        assert np.array_equal(spectrogram, mel_spectrogram(samples))
        assert read_header(path).fortran_order  # a crop in time is one contiguous read


def test_every_audio_file_is_found_once_and_nothing_else(tmp_path):
    data_dir = tmp_path / "fma"
    audios = data_dir / "audios"
    tone(audios / "a" / "deep" / "one.first.second.MP3")
    tone(audios / "two.Wav")
    tone(tmp_path / "elsewhere" / "three.flac")
    (audios / "linked").symlink_to(tmp_path / "elsewhere")
    (audios / "a" / "back").symlink_to(audios)  # a circle
    (audios / "four.ogg").symlink_to(tone(tmp_path / "other.ogg"))
    tone(audios / ".hidden.mp3")
    tone(audios / ".trash" / "five.mp3")
    (audios / "six.mp3.part").write_bytes(b"half a download")
    (audios / "notes.txt").write_text("no audio")
    os.mkfifo(audios / "pipe.mp3")  # opening it would wait for ever
    done = run(data_dir)
    assert done.returncode == 0, done.stderr
    assert names(data_dir) == ["four.npy", "one.npy", "three.npy", "two.npy"]


@pytest.mark.parametrize(("dataset", "seconds"), [("makam", 150), ("fma", 152)])
def test_long_recordings_are_cut_to_the_length_of_the_dataset(tmp_path, dataset, seconds):
    data_dir = tmp_path / dataset
    tone(data_dir / "audios" / "long.wav", seconds=152, rate=8000)
    assert run(data_dir, dataset=dataset).returncode == 0
    assert np.load(data_dir / "mel-spectrograms" / "long.npy").shape == (128, seconds * 16000 // 256 + 1)


def test_finished_ones_are_skipped_and_damaged_ones_made_again(corpus):
    assert run(corpus).returncode == 0
    output = corpus / "mel-spectrograms"
    whole = {path.name: path.read_bytes() for path in output.iterdir()}
    times = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    (output / "000000.npy").write_bytes(whole["000000.npy"][:-100])
    (output / "000001.npy").write_text("not an array")
    np.save(output / "000002.npy", np.zeros((64, 10), np.float32))
    done = run(corpus)
    assert done.returncode == 0, done.stderr
    assert "3 made, 1 skipped, 0 failed" in done.stdout
    assert {path.name: path.read_bytes() for path in output.iterdir()} == whole
    assert (output / "000003.npy").stat().st_mtime_ns == times["000003.npy"]

    np.save(output / "000003.npy", np.zeros((128, 10), np.float32))  # whole, but of other audio
    assert "0 made, 4 skipped" in run(corpus).stdout
    assert "4 made, 0 skipped" in run(corpus, "--overwrite").stdout
    assert {path.name: path.read_bytes() for path in output.iterdir()} == whole


def test_bad_files_are_listed_and_stop_nothing(corpus):
    audios = corpus / "audios"
    (audios / "empty.mp3").touch()
    (audios / "text.mp3").write_text("this is not music\n" * 100)
    cut = tone(audios / "cut.mp3", seconds=20)
    cut.write_bytes(cut.read_bytes()[:20_000])
    tone(audios / "short.wav", seconds=0.01)
    (audios / "lost.mp3").symlink_to(corpus / "nowhere.mp3")
    (audios / "tab\tand\nline.mp3").touch()
    (audios / os.fsdecode(b"latin-\xe9.mp3")).touch()
    done = run(corpus)
    assert done.returncode == EXIT_INCOMPLETE
    assert "4 made, 0 skipped, 7 failed" in done.stdout
    assert "failed.tsv" in error_line(done)
    rows = (corpus / "mel-spectrograms" / "failed.tsv").read_bytes().decode(errors="surrogateescape").splitlines()
    reasons = dict(row.split("\t") for row in rows)
    assert len(rows) == len(reasons) == 7
    expected = {
        "empty.mp3": "empty",
        "text.mp3": "not audio",
        "cut.mp3": "cut short",
        "short.wav": "too short",
        "lost.mp3": "No such file",
        "tab\\tand\\nline.mp3": "empty",
        os.fsdecode(b"latin-\xe9.mp3"): "empty",
    }
    for name, reason in expected.items():
        assert reason in reasons[str(audios / name)], name

    for path in audios.iterdir():
        if not path.is_dir():
            path.unlink()
    tone(audios / "empty.mp3")
    done = run(corpus)  # the failed one is tried again, and the list goes
    assert done.returncode == 0, done.stderr
    assert "1 made, 4 skipped, 0 failed" in done.stdout
    assert "failed.tsv" not in names(corpus)


def test_two_files_of_one_recording_are_told_not_overwritten(corpus):
    audios = corpus / "audios"
    tone(audios / "000000.wav")
    tone(audios / "001" / "000000.live.mp3")
    done = run(corpus)
    assert done.returncode == EXIT_INCOMPLETE
    assert "3 made, 0 skipped, 3 failed" in done.stdout
    rows = (corpus / "mel-spectrograms" / "failed.tsv").read_text().splitlines()
    assert len(rows) == 3
    for row in rows:
        file, reason = row.split("\t")
        others = {"000/000000.mp3", "000000.wav", "001/000000.live.mp3"} - {str(Path(file).relative_to(audios))}
        assert all(str(audios / other) in reason for other in others)
    assert "000000.npy" not in names(corpus)


@pytest.mark.parametrize(
    ("make", "dataset", "code", "said"),
    [
        (lambda d: None, "fma", EXIT_FAILED, "there is no directory"),
        (lambda d: d.mkdir(), "fma", EXIT_FAILED, "audios; put the recordings"),
        (lambda d: (d / "audios").mkdir(parents=True), "fma", EXIT_FAILED, "no audio files"),
        (lambda d: d.mkdir(), "lyra", EXIT_USAGE, "distributed as mel-spectrograms"),
        (lambda d: d.mkdir(), "fna", EXIT_USAGE, "fma"),
        (lambda d: (tone(d / "audios" / "a.wav"), (d / "mel-spectrograms").touch()), "fma", EXIT_FAILED, "cannot"),
    ],
)
def test_wrong_directories_are_told_in_one_line(tmp_path, make, dataset, code, said):
    data_dir = tmp_path / "corpus"
    make(data_dir)
    done = run(data_dir, dataset=dataset)
    assert done.returncode == code
    assert said in error_line(done)


def test_lyra_is_made_where_there_is_audio(tmp_path):
    tone(tmp_path / "lyra" / "audios" / "a.wav")
    assert run(tmp_path / "lyra", dataset="lyra").returncode == 0
    assert names(tmp_path / "lyra") == ["a.npy"]


def test_number_of_workers_changes_nothing(corpus):
    assert run(corpus, "--workers", "1").returncode == 0
    one = {path.name: path.read_bytes() for path in (corpus / "mel-spectrograms").iterdir()}
    assert run(corpus, "--workers", "7", "--overwrite").returncode == 0
    assert {path.name: path.read_bytes() for path in (corpus / "mel-spectrograms").iterdir()} == one
    assert run(corpus, "--workers", "0").returncode == EXIT_USAGE


def test_starts_without_torch_or_librosa():
    """Importing either takes longer than a second clips' worth of work."""
    code = (
        "import sys, preprocessing.create_mel_spectrograms;"
        "print([m for m in ('torch', 'librosa', 'scipy', 'pandas', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_link_that_leads_to_itself_is_one_failed_file(tmp_path):
    tone(tmp_path / "fma" / "audios" / "good.wav")
    for name in ("loop.mp3", "loop"):
        (tmp_path / "fma" / "audios" / name).symlink_to(name)
    done = run(tmp_path / "fma")
    assert done.returncode == EXIT_INCOMPLETE
    assert "loop.mp3 failed" in error_line(done)
    assert names(tmp_path / "fma") == ["failed.tsv", "good.npy"]
