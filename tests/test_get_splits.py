"""The published split files arrive, are verified, and nothing else passes for them."""

from __future__ import annotations

import csv
import functools
import random
import shutil
import subprocess
import sys
import time
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from config import DATASETS
from preprocessing import get_splits
from preprocessing.get_splits import published_files
from runtime.errors import IncompleteError
from tests.loopback import serve

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "splits"
NOT_AT_HAND = {("magnatagatune", "binary.npy"), ("magnatagatune", "train.npy")}

needs_published = pytest.mark.skipif(not SHARED.is_dir(), reason="the published split files are not beside the project")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Slow(Quiet):
    """Sends 16 KiB every few milliseconds, so that a kill may fall anywhere."""

    def copyfile(self, source, outputfile):
        while block := source.read(1 << 14):
            outputfile.write(block)
            time.sleep(0.008)


def serve_directory(directory: Path, handler=Quiet):
    return serve(functools.partial(handler, directory=str(directory)))


def run(*arguments) -> subprocess.CompletedProcess:
    """The script as a user runs it, from another directory."""
    command = [sys.executable, ROOT / "preprocessing" / "get_splits.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


def verified(dataset: str, split_dir: Path) -> dict[str, bool]:
    """Which published files are there, and whether they are right."""
    return {
        file.name: file.checksum.matches((split_dir / file.name).read_bytes())
        for file in published_files(dataset)
        if (split_dir / file.name).exists()
    }


def test_table_names_the_files_each_corpus_reader_needs():
    names = {dataset: {file.name for file in published_files(dataset)} for dataset in DATASETS}
    lists = {"train.npy", "valid.npy", "test.npy"}
    assert names == {
        "magnatagatune": lists | {"binary.npy", "tags.npy"},
        "fma": lists | {"metadata.npy"},
        "lyra": {"training.tsv", "test.tsv"},
        "makam": lists,
        "hindustani": lists,
        "carnatic": lists,
    }


@needs_published
def test_table_is_the_published_manifest():
    with (SHARED / "manifest.csv").open(newline="") as file:
        manifest = {row["path"]: (row["git_blob_sha1"], row["sha256"]) for row in csv.DictReader(file)}
    table = {
        file.path: (file.checksum.git_blob_sha1, file.checksum.sha256)
        for dataset in DATASETS
        for file in published_files(dataset)
    }
    assert table == manifest


@needs_published
def test_all_six_corpora_arrive_and_verify(tmp_path):
    with serve_directory(SHARED) as url:
        done = run("--dataset", "all", "--data_dir", tmp_path, "--base_url", url)
    for dataset in DATASETS:
        expected = {f.name for f in published_files(dataset) if (dataset, f.name) not in NOT_AT_HAND}
        assert verified(dataset, tmp_path / dataset / "split") == dict.fromkeys(expected, True)
    assert done.returncode == 3  # the two files that are not at hand are named, with what to do
    assert done.stderr.count("not found at") == 2
    assert "magnatagatune_labels.py" in done.stdout


@needs_published
def test_second_run_needs_no_network(tmp_path):
    assert run("--dataset", "carnatic", "--data_dir", tmp_path, "--base_url", SHARED).returncode == 0
    modified = {path: path.stat().st_mtime_ns for path in (tmp_path / "split").iterdir()}
    again = run("--dataset", "carnatic", "--data_dir", tmp_path, "--base_url", "http://127.0.0.1:9", "--retries", 0)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("already there") == 3
    assert modified == {path: path.stat().st_mtime_ns for path in (tmp_path / "split").iterdir()}


@needs_published
def test_one_changed_byte_at_the_source_is_caught_and_named(tmp_path):
    mirror = tmp_path / "mirror"
    shutil.copytree(SHARED / "makam", mirror / "makam")
    changed = mirror / "makam" / "valid.npy"
    changed.chmod(0o644)
    content = bytearray(changed.read_bytes())
    content[5000] ^= 1
    changed.write_bytes(content)
    with serve_directory(mirror) as url:
        done = run("--dataset", "makam", "--data_dir", tmp_path / "makam", "--base_url", url)
    assert done.returncode == 3
    assert "makam/valid.npy" in done.stderr
    assert "is not the published file" in done.stderr
    assert verified("makam", tmp_path / "makam" / "split") == {"train.npy": True, "test.npy": True}


@needs_published
def test_local_file_that_differs_is_replaced_and_kept_beside(tmp_path):
    split_dir = tmp_path / "split"
    split_dir.mkdir()
    (split_dir / "test.tsv").write_text("my own")
    done = run("--dataset", "lyra", "--data_dir", tmp_path, "--base_url", SHARED)
    assert done.returncode == 0
    assert "test.tsv.old" in done.stdout
    assert (split_dir / "test.tsv.old").read_text() == "my own"
    assert verified("lyra", split_dir) == {"test.tsv": True, "training.tsv": True}


@needs_published
def test_clone_of_the_authors_repository_and_a_data_folder_serve_as_source(tmp_path):
    for layout in ("data/lyra/split", "lyra/split"):
        mirror = tmp_path / layout.replace("/", "_")
        shutil.copytree(SHARED / "lyra", mirror / layout)
        get_splits.main(["--dataset", "lyra", "--data_dir", str(mirror / "out"), "--base_url", str(mirror)])
        assert verified("lyra", mirror / "out" / "split") == {"test.tsv": True, "training.tsv": True}


@needs_published
def test_second_source_is_asked_for_what_the_first_lacks(tmp_path):
    (tmp_path / "empty").mkdir()
    get_splits.main(
        ["--dataset", "lyra", "--data_dir", str(tmp_path), "--base_url", str(tmp_path / "empty"), str(SHARED)]
    )
    assert verified("lyra", tmp_path / "split") == {"test.tsv": True, "training.tsv": True}


@needs_published
def test_kill_at_any_moment_leaves_no_wrong_file_and_the_next_run_finishes(tmp_path):
    generator = random.Random(3)
    script = ROOT / "preprocessing" / "get_splits.py"
    with serve_directory(SHARED, Slow) as url:
        command = [sys.executable, script, "--dataset", "makam", "--data_dir", tmp_path, "--base_url", url]
        seen: set[str] = set()
        for _ in range(6):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(generator.uniform(0.15, 0.6))
            process.kill()
            process.wait()
            there = verified("makam", tmp_path / "split")
            assert all(there.values())
            assert seen <= set(there)  # what was finished stays
            seen = set(there)
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert verified("makam", tmp_path / "split") == dict.fromkeys(("train.npy", "valid.npy", "test.npy"), True)
    assert not list((tmp_path / "split").glob(".*.part"))


def test_failing_server_is_one_line_without_traceback(tmp_path):
    done = run("--dataset", "lyra", "--data_dir", tmp_path, "--base_url", "http://127.0.0.1:9", "--retries", 0)
    assert done.returncode == 1
    assert done.stderr.startswith("error: http://127.0.0.1:9/")
    assert done.stderr.count("\n") == 1


def test_unknown_dataset_and_bad_numbers_are_usage_errors(tmp_path):
    assert run("--dataset", "lira").returncode == 2
    assert run("--dataset", "lyra", "--retries", -1).returncode == 2


def test_missing_files_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(IncompleteError, match=r"lyra/test\.tsv: not found"):
        get_splits.main(["--dataset", "lyra", "--data_dir", str(tmp_path), "--base_url", str(tmp_path / "empty")])
