"""Lyra's downloaded spectrograms are checked before they are put into place."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from datasets import open_corpus, open_recordings
from preprocessing import lyra_spectrograms
from preprocessing.lyra_spectrograms import read_durations
from runtime.errors import DataError, UsageError

HEADER = "id\tinstruments\tgenres\tplace\tcoordinates\tis-danced\tyoutube-id\tstart-ts\tend-ts\n"
SECONDS = {f"song-{i}": 10 + i for i in range(24)}


def npy(seconds: float, rate: float = 62.5, dtype: str = "float32", bands: int = 128, fortran: bool = False) -> bytes:
    array = np.full((bands, int(seconds * rate) + 1), -40, dtype=dtype)
    file = io.BytesIO()
    np.save(file, np.asfortranarray(array) if fortran else array)
    return file.getvalue()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Tables of 20 training and 4 test recordings, as published."""
    split = tmp_path / "lyra" / "split"
    split.mkdir(parents=True)
    rows = [f"{id_}\tLaouto\tTraditional\tNone\tNone\t0\tx\t100\t{100 + s}\n" for id_, s in SECONDS.items()]
    (split / "training.tsv").write_text(HEADER + "".join(rows[:20]))
    (split / "test.tsv").write_text(HEADER + "".join(rows[20:]))
    return tmp_path / "lyra"


def contents(**options) -> dict[str, bytes]:
    return {id_: npy(seconds, fortran=seconds % 2 == 0, **options) for id_, seconds in SECONDS.items()}


def make_archive(
    path: Path, files: dict[str, bytes], folder: str = "mel-spectrograms/", more: dict | None = None
) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for id_, content in files.items():
            archive.writestr(f"{folder}{id_}.npy", content)
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return path


def make_folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for id_, content in files.items():
        (path / f"{id_}.npy").write_bytes(content)
    return path


def place(data_dir: Path, source: Path | None = None) -> None:
    lyra_spectrograms.main(["--data_dir", str(data_dir), *(["--source", str(source)] if source else [])])


def in_place(data_dir: Path) -> dict[str, bytes]:
    return {path.name.removesuffix(".npy"): path.read_bytes() for path in (data_dir / "mel-spectrograms").iterdir()}


def test_archive_is_unpacked(data_dir, tmp_path, capsys):
    junk = {"__MACOSX/mel-spectrograms/._song-1.npy": b"x", "mel-spectrograms/README.txt": b"x", "other.npy": npy(3)}
    place(data_dir, make_archive(tmp_path / "mel-spectrograms.zip", contents(), more=junk))
    assert in_place(data_dir) == contents()
    assert "24 spectrograms, 0.1 hours" in capsys.readouterr().out  # 516 seconds
    corpus = open_corpus("lyra", data_dir)
    assert [len(open_recordings(split)) for split in corpus.splits] == [18, 2, 4]


def test_folder_is_linked(data_dir, tmp_path):
    folder = make_folder(tmp_path / "downloads" / "mel-spectrograms", contents())
    place(data_dir, tmp_path / "downloads")
    assert (data_dir / "mel-spectrograms").resolve() == folder
    assert in_place(data_dir) == contents()
    place(data_dir, tmp_path / "downloads")  # already done
    place(data_dir)


def test_what_is_in_place_is_checked(data_dir):
    make_folder(data_dir / "mel-spectrograms", contents())
    place(data_dir)
    (data_dir / "mel-spectrograms" / "song-7.npy").unlink()
    with pytest.raises(DataError, match=r"1 of Lyra's 24 spectrograms are not in .*: song-7"):
        place(data_dir)


def test_second_run_unpacks_only_what_is_missing(data_dir, tmp_path):
    archive = make_archive(tmp_path / "a.zip", contents())
    place(data_dir, archive)
    folder = data_dir / "mel-spectrograms"
    (folder / "song-3.npy").unlink()
    (folder / "song-4.npy").write_bytes(b"half")
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    place(data_dir, archive)
    assert in_place(data_dir) == contents()
    changed = {path.name for path in folder.iterdir() if path.stat().st_mtime_ns != times.get(path.name)}
    assert changed == {"song-3.npy", "song-4.npy"}


def test_the_other_archive_is_recognised(data_dir, tmp_path):
    archive = make_archive(tmp_path / "a.zip", contents(rate=20.0))
    with pytest.raises(DataError, match=r"20 frames a second, so it is mel-spectrograms_initial\.zip"):
        place(data_dir, archive)
    assert not (data_dir / "mel-spectrograms").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"song-5": npy(15, dtype="float64")}, r"song-5\.npy is float64"),
        ({"song-5": npy(15, bands=96)}, r"shape \(96, 938\)"),
        ({"song-5": npy(15)[:-7]}, "truncated or damaged"),
        ({"song-5": b"<html>"}, "not a readable .npy file"),
        ({"song-5": b""}, "not a readable .npy file"),
    ],
)
@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_wrong_file_is_named(data_dir, tmp_path, change, message, kind):
    make_source = {"archive": make_archive, "folder": make_folder}[kind]
    source = make_source(tmp_path / "source", contents() | change)
    with pytest.raises(DataError, match=message):
        place(data_dir, source)
    assert not (data_dir / "mel-spectrograms").exists()


def test_other_rate_is_refused(data_dir, tmp_path):
    with pytest.raises(DataError, match=r"86\.\d frames a second where the study has 62\.5"):
        place(data_dir, make_folder(tmp_path / "source", contents(rate=86.13)))


def test_member_that_leads_elsewhere_does_not(data_dir, tmp_path):
    files = contents()
    hostile = {"../../../escaped.npy": npy(3), "/absolute.npy": npy(3), "a\\..\\..\\song-0.npy": files.pop("song-0")}
    place(data_dir, make_archive(tmp_path / "a.zip", files, more=hostile))
    assert set(in_place(data_dir)) == set(SECONDS)
    assert not list(tmp_path.rglob("escaped*"))


def test_repeated_name_is_refused(data_dir, tmp_path):
    archive = make_archive(tmp_path / "a.zip", contents(), more={"copy/song-0.npy": npy(3)})
    with pytest.raises(DataError, match="several files of one name"):
        place(data_dir, archive)


def test_damaged_archive_is_one_line(data_dir, tmp_path):
    archive = make_archive(tmp_path / "a.zip", contents())
    whole = archive.read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(20):
            content[generator.randrange(len(content))] ^= 255
        archive.write_bytes(content)
        try:
            place(data_dir, archive)
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
        if (data_dir / "mel-spectrograms").exists():
            assert in_place(data_dir).items() <= contents().items()
            shutil.rmtree(data_dir / "mel-spectrograms")
    assert refused >= 45
    for content in (whole[: len(whole) // 2], b"<html>", b""):
        archive.write_bytes(content)
        with pytest.raises(DataError, match="not a whole archive"):
            place(data_dir, archive)


def test_kill_while_unpacking_leaves_no_wrong_file(data_dir, tmp_path):
    archive = make_archive(tmp_path / "a.zip", contents())
    script = Path(lyra_spectrograms.__file__)
    command = [sys.executable, script, "--source", archive, "--data_dir", data_dir]
    folder = data_dir / "mel-spectrograms"
    for count in (1, 12):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not folder.exists() or len(list(folder.iterdir())) < count):
            time.sleep(0.001)
        process.kill()
        process.wait()
        there = {id_: content for id_, content in in_place(data_dir).items() if not id_.startswith(".")}
        assert there.items() <= contents().items()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert in_place(data_dir) == contents()


def test_too_little_space_is_noticed_before_unpacking(data_dir, tmp_path, monkeypatch):
    archive = make_archive(tmp_path / "a.zip", contents())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DataError, match=r"takes 0\.0 GB, but 0\.0 GB are free"):
        place(data_dir, archive)
    assert not in_place(data_dir)


def test_folder_in_the_way_is_kept(data_dir, tmp_path):
    make_folder(data_dir / "mel-spectrograms", {"mine": b"x"})
    with pytest.raises(UsageError, match="is there already"):
        place(data_dir, make_folder(tmp_path / "source", contents()))
    assert in_place(data_dir) == {"mine": b"x"}


def test_missing_source_and_missing_tables_say_what_to_do(data_dir, tmp_path):
    with pytest.raises(DataError, match=r"mel-spectrograms\.zip is"):
        place(data_dir, tmp_path / "nothing.zip")
    (data_dir / "split" / "test.tsv").unlink()
    with pytest.raises(DataError, match=r"get_splits\.py --dataset lyra"):
        place(data_dir)


def test_published_tables_tell_the_length_of_all_1570(tmp_path, published_splits):
    shutil.copytree(published_splits / "lyra", tmp_path / "lyra" / "split")
    durations = read_durations(tmp_path / "lyra")
    assert len(durations) == lyra_spectrograms.N_RECORDINGS
    assert sum(durations.values()) / 3600 == pytest.approx(80, abs=0.1)  # "around 80 hours", says the corpus' paper
