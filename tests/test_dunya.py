"""Every recording Dunya has ends whole on disk or in failed.tsv, whatever the network does."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from datasets.safe_numpy import load_metadata
from preprocessing.download import RetryingSession
from preprocessing.dunya import fetch, get_audios, get_metadata
from preprocessing.dunya.client import AccessDenied, DunyaClient
from preprocessing.dunya.fetch import is_safe
from preprocessing.dunya.journal import Journal
from preprocessing.dunya.mp3 import NotAnMp3, check_mp3
from preprocessing.dunya.tags import recording_tags
from runtime.errors import IncompleteError, UsageError, UserError
from tests.dunya_server import TOKEN, DunyaServer, mp3
from tests.loopback import serve

ROOT = Path(__file__).resolve().parents[1]
IDS = [f"{i:08x}-0000-4000-8000-{i:012x}" for i in range(8)]


def details(i: int) -> dict:
    return {
        "mbid": IDS[i],
        "title": f"Recording {i}",
        "makamlist": [{"uuid": "1", "name": "Hicaz" if i % 2 else "Rast"}],
        "usullist": [{"uuid": "2", "name": "Düyek"}],
        "performers": [
            {"mbid": "3", "name": "A", "instrument": {"id": 1, "name": "Ney"}},
            {"mbid": "4", "name": "B", "instrument": {"id": 2, "name": "Ud"}},
            {"mbid": "5", "name": "C", "instrument": {"id": 1, "name": "Ney"}},
        ],
    }


RECORDINGS = {id_: details(i) for i, id_ in enumerate(IDS)}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A corpus folder with published lists of the eight recordings."""
    split = tmp_path / "makam" / "split"
    split.mkdir(parents=True)
    np.save(split / "train.npy", np.array(IDS[:5]))
    np.save(split / "valid.npy", np.array(IDS[5:6]))
    np.save(split / "test.npy", np.array(IDS[6:]))
    return tmp_path / "makam"


def arguments(server: DunyaServer, data_dir: Path, *more: str, token: str = TOKEN) -> list[str]:
    quick = ["--retry_wait", "0.01", "--timeout", "0.5", "--retries", "2"]
    return ["--dataset", "makam", "--data_dir", str(data_dir), "--token", token, "--host", server.url, *quick, *more]


def run(script: str, *command: str, **environment: str) -> subprocess.CompletedProcess:
    """A script as a user runs it, from another directory."""
    return subprocess.run(
        [sys.executable, ROOT / "preprocessing" / "dunya" / script, *command],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", **environment},
        check=False,
    )


def failures(path: Path) -> dict[str, str]:
    return dict(line.split("\t") for line in path.read_text().splitlines()) if path.exists() else {}


def audios(data_dir: Path) -> dict[str, bytes]:
    """Everything in the audio folder, part files as well."""
    return {path.name: path.read_bytes() for path in (data_dir / "audios").iterdir() if path.name != "failed.tsv"}


def whole(server: DunyaServer, ids: list[str]) -> dict[str, bytes]:
    return {f"{id_}.mp3": server.audio(id_) for id_ in ids}


# Audio


def test_recordings_of_the_split_arrive_whole(data_dir):
    with DunyaServer(RECORDINGS) as server:
        done = run("get_audios.py", *arguments(server, data_dir))
    assert done.returncode == 0, done.stderr
    assert audios(data_dir) == whole(server, IDS)
    assert "8 of 8 recordings" in done.stdout
    assert not (data_dir / "audios" / "failed.tsv").exists()
    assert not any(path.endswith("/recording") for path in server.asked)  # the list is not needed for the split


def test_second_run_fetches_only_what_is_missing(data_dir):
    with DunyaServer(RECORDINGS) as server:
        get_audios.main(arguments(server, data_dir))
        (data_dir / "audios" / f"{IDS[3]}.mp3").unlink()
        server.asked.clear()
        get_audios.main(arguments(server, data_dir))
        assert {path for path in server.asked if path.endswith("mp3")} == {f"/document/by-id/{IDS[3]}/mp3"}
        server.asked.clear()
        get_audios.main(arguments(server, data_dir))
        assert not server.asked  # nothing missing: nothing asked
    assert audios(data_dir) == whole(server, IDS)


def test_all_takes_every_page_of_the_list(data_dir):
    more = RECORDINGS | {"ffffffff-0000-4000-8000-000000000009": details(0)}
    np.save(data_dir / "split" / "train.npy", np.array(IDS[:1]))
    with DunyaServer(more) as server:
        get_audios.main(arguments(server, data_dir, "--all"))
    assert audios(data_dir) == whole(server, sorted(more))


def test_audio_in_a_subfolder_counts_as_there(data_dir):
    folder = data_dir / "audios" / "disc 1"
    folder.mkdir(parents=True)
    (folder / f"{IDS[0]}.mp3").write_bytes(mp3(0))
    with DunyaServer(RECORDINGS) as server:
        get_audios.main(arguments(server, data_dir))
    assert server.asked[f"/document/by-id/{IDS[0]}/mp3"] == 0


@pytest.mark.parametrize("fault", ["429", "500", "503", "cut", "long", "short", "html", "empty", "silent"])
def test_passing_fault_is_overcome(data_dir, fault):
    with DunyaServer(RECORDINGS, faults={IDS[2]: [fault], IDS[6]: [fault]}) as server:
        get_audios.main(arguments(server, data_dir))
    assert audios(data_dir) == whole(server, IDS)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404", "does not have it"),
        ("403", "HTTP 403"),
        ("401", "HTTP 401"),
        ("410", "HTTP 410"),
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("cut", "broke off"),
        ("long", "broke off"),
        ("short", "cut short"),
        ("html", "text/html"),
        ("empty", "empty"),
        ("silent", "in time"),
    ],
)
def test_lasting_fault_is_listed_and_the_others_arrive(data_dir, fault, reason):
    with DunyaServer(RECORDINGS, faults={IDS[2]: [f"{fault}*"]}, ranges=fault != "short") as server:
        with pytest.raises(IncompleteError, match="1 recordings are missing"):
            get_audios.main(arguments(server, data_dir))
        assert audios(data_dir) == whole(server, [id_ for id_ in IDS if id_ != IDS[2]])
        (listed,) = failures(data_dir / "audios" / "failed.tsv").items()
        assert listed[0] == IDS[2]
        assert reason in listed[1]
        server.faults.clear()
        get_audios.main(arguments(server, data_dir))  # the fault is over: the same command completes the corpus
    assert audios(data_dir) == whole(server, IDS)
    assert not (data_dir / "audios" / "failed.tsv").exists()


def test_every_fault_at_once_ends_whole_or_listed(data_dir):
    kinds = ["404*", "cut*", "short*", "html*", "500*", "cut", "short", "long"]
    with DunyaServer(RECORDINGS, faults={id_: [kind] for id_, kind in zip(IDS, kinds, strict=True)}) as server:
        done = run("get_audios.py", *arguments(server, data_dir))
    assert done.returncode == 3
    assert audios(data_dir) == whole(server, IDS[5:])
    assert set(failures(data_dir / "audios" / "failed.tsv")) == set(IDS[:5])


def test_file_that_the_server_itself_has_cut_is_taken_as_it_is(data_dir):
    with DunyaServer(RECORDINGS, faults={IDS[1]: ["half*"]}) as server:
        get_audios.main(arguments(server, data_dir))
    assert audios(data_dir)[f"{IDS[1]}.mp3"] == server.audio(IDS[1])[: len(server.audio(IDS[1])) // 2]


def test_retry_after_is_respected(data_dir):
    with DunyaServer(RECORDINGS, faults={IDS[0]: ["wait=1"]}) as server:
        np.save(data_dir / "split" / "train.npy", np.array(IDS[:1]))
        for name in ("valid", "test"):
            np.save(data_dir / "split" / f"{name}.npy", np.array([], dtype="U36"))
        get_audios.main(arguments(server, data_dir))
    _, refused, granted = server.times  # the check of the token, then the two requests for audio
    assert granted - refused >= 1.0


def test_very_long_retry_after_stops_the_run(data_dir):
    faults = {IDS[0]: ["wait=7200*"]}
    with DunyaServer(RECORDINGS, faults) as server, pytest.raises(UserError, match="wait 120 minutes"):
        get_audios.main(arguments(server, data_dir))
    assert IDS[0] in failures(data_dir / "audios" / "failed.tsv")


def test_wrong_token_stops_at_once_with_the_reason(data_dir):
    with DunyaServer(RECORDINGS) as server:
        for script in ("get_audios.py", "get_metadata.py"):
            done = run(script, *arguments(server, data_dir, token="wrong-token-98765"))
            assert done.returncode == 1
            assert "does not accept the token" in done.stderr
            assert "wrong-token-98765" not in done.stdout + done.stderr
    assert sum(server.asked.values()) == 2  # one question each


@pytest.mark.parametrize("status", ["401", "403"])
def test_missing_access_stops_soon_with_the_reason(data_dir, status):
    faults = {id_: [f"{status}*"] for id_ in IDS}
    with DunyaServer(RECORDINGS, faults) as server, pytest.raises(AccessDenied, match="accepts the token but refuses"):
        get_audios.main(arguments(server, data_dir, "--workers", "1"))
    assert sum(path.endswith("mp3") for path in server.asked.elements()) == 3
    reasons = failures(data_dir / "audios" / "failed.tsv")
    assert set(reasons) == set(IDS)
    assert sum("not tried" in reason for reason in reasons.values()) == 5


def test_server_that_is_down_stops_the_run(data_dir):
    ids = [f"{i:08x}-0000-4000-8000-00000000ffff" for i in range(30)]
    np.save(data_dir / "split" / "train.npy", np.array(ids))
    faults = {id_: ["500*"] for id_ in ids}
    recordings, down = {id_: details(0) for id_ in ids}, pytest.raises(UserError, match="10 recordings in a row failed")
    with DunyaServer(recordings, faults) as server, down:
        get_audios.main(arguments(server, data_dir, "--workers", "1"))
    assert sum(path.endswith("mp3") for path in server.asked) == 10
    reasons = failures(data_dir / "audios" / "failed.tsv")
    assert len(reasons) == 33
    assert sum("not tried" in reason for reason in reasons.values()) == 23


def test_recordings_that_keep_failing_do_not_stand_in_the_way(data_dir):
    ids = [f"{i:08x}-0000-4000-8000-00000000ffff" for i in range(15)]
    np.save(data_dir / "split" / "train.npy", np.array(ids))
    faults = {id_: ["500*"] for id_ in ids[:12]}
    with DunyaServer({id_: details(0) for id_ in ids} | RECORDINGS, faults) as server:
        for _ in range(2):  # each run meets ten failures in a row and stops
            with pytest.raises(UserError, match="in a row"):
                get_audios.main(arguments(server, data_dir, "--workers", "1"))
    assert set(failures(data_dir / "audios" / "failed.tsv")) == set(ids[:12])  # all the others are there


def test_unreachable_server_is_one_line(data_dir):
    with DunyaServer(RECORDINGS) as server:
        pass
    done = run("get_audios.py", *arguments(server, data_dir))
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_more_recordings_at_once_than_workers(data_dir):
    with DunyaServer(RECORDINGS, delay=0.005) as server:
        get_audios.main(arguments(server, data_dir, "--workers", "3"))
    assert 2 <= server.most_at_once <= 3


@pytest.mark.parametrize("bad", ["../x", "..", "/etc/x", "a/b", "a\\b", ".hidden", "a%2fb", "a?b", "a#b", "a.b", ""])
def test_id_that_leads_elsewhere_is_refused(bad):
    assert not is_safe(bad)


def test_hostile_id_in_the_list_is_refused_and_listed(data_dir):
    hostile = {"../../x": details(0), "..%2fx": details(0)}
    with DunyaServer(RECORDINGS | hostile) as server, pytest.raises(IncompleteError):
        get_audios.main(arguments(server, data_dir, "--all"))
    assert audios(data_dir) == whole(server, IDS)
    assert set(failures(data_dir / "audios" / "failed.tsv")) == set(hostile)
    assert not list(data_dir.parent.rglob("x*"))


def kill_after(command: list, server: DunyaServer, requests: int, pause: float) -> None:
    """Run a script and kill it when the server has had so many more requests, and a moment later."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    target = sum(server.asked.values()) + requests
    while sum(server.asked.values()) < target and process.poll() is None:
        time.sleep(0.002)
    time.sleep(pause)
    process.kill()
    process.wait()


def test_kill_at_any_moment_leaves_no_wrong_file_and_the_next_run_finishes(data_dir):
    generator = random.Random(1)
    with DunyaServer(RECORDINGS, delay=0.01) as server:
        command = [sys.executable, ROOT / "preprocessing/dunya/get_audios.py", *arguments(server, data_dir)]
        finished: set[str] = set()
        for requests in (1, 3, 6, 4, 2):
            kill_after(command, server, requests, generator.uniform(0, 0.05))
            there = {name: content for name, content in audios(data_dir).items() if not name.startswith(".")}
            assert there.items() <= whole(server, IDS).items()
            assert finished <= set(there)
            finished = set(there)
        assert finished  # the kills have let something through
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert audios(data_dir) == whole(server, IDS)  # no part files either


def test_ctrl_c_before_the_downloads_have_started_is_no_failure(monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch.threading.Thread, "start", interrupted)
    outcome = fetch.fetch_all(["a", "b"], lambda id_: None, 2, threading.Event(), "audio")
    assert isinstance(outcome.stopped_by, KeyboardInterrupt)


def test_ctrl_c_ends_soon_and_cleanly(data_dir):
    with DunyaServer(RECORDINGS, delay=0.05) as server:
        command = [sys.executable, ROOT / "preprocessing/dunya/get_audios.py", *arguments(server, data_dir)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not any(path.endswith("mp3") for path in list(server.asked)):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        output, errors = process.communicate(timeout=10)
    assert time.monotonic() - started < 3
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "the same command goes on" in errors
    assert "recordings are in" in output
    there = audios(data_dir)
    assert there.items() <= whole(server, IDS).items()
    assert set(failures(data_dir / "audios" / "failed.tsv")) == {id_ for id_ in IDS if f"{id_}.mp3" not in there}


def test_disk_that_is_full_stops_the_run(data_dir, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("preprocessing.dunya.client.check_mp3", full)
    with DunyaServer(RECORDINGS) as server, pytest.raises(OSError, match="No space left"):
        get_audios.main(arguments(server, data_dir))
    assert not audios(data_dir)
    assert set(failures(data_dir / "audios" / "failed.tsv")) == set(IDS)


# Token


def test_token_comes_from_the_environment_and_is_never_shown(data_dir):
    with DunyaServer(RECORDINGS, faults={IDS[0]: ["cut*"], IDS[1]: ["500*"]}) as server:
        command = arguments(server, data_dir, "--debug")
        at = command.index("--token")
        done = run("get_audios.py", *command[:at], *command[at + 2 :], DUNYA_TOKEN=TOKEN)
    assert done.returncode == 3
    assert server.tokens_seen == {f"Token {TOKEN}"}
    written = "".join(path.read_text() for path in data_dir.rglob("*.tsv"))
    assert TOKEN not in done.stdout + done.stderr + written


def test_missing_token_says_where_to_get_one(data_dir):
    done = run("get_audios.py", "--dataset", "makam", "--data_dir", str(data_dir))
    assert done.returncode == 2
    assert "dunya.compmusic.upf.edu/user/profile" in done.stderr
    assert "DUNYA_TOKEN" in done.stderr


@pytest.mark.parametrize("token", ["secret\nX-Evil: 1", "tökén-secret", "two secrets"])
def test_token_that_cannot_be_one_is_refused_unseen(data_dir, token):
    with pytest.raises(UsageError, match="token") as caught:
        get_audios.main(["--dataset", "makam", "--data_dir", str(data_dir), "--token", token])
    assert "secret" not in str(caught.value)


def test_token_goes_to_no_other_host(data_dir):
    stolen = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self):
            stolen.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with serve(Thief) as elsewhere:
        faults = {"": [f"next={elsewhere}/api/makam/recording?page=2"]}
        with DunyaServer(RECORDINGS, api_faults=faults) as server, pytest.raises(UserError, match="another host"):
            get_audios.main(arguments(server, data_dir, "--all"))
    assert not stolen


def test_next_page_named_with_http_is_asked_for_over_https(monkeypatch):
    urls = []

    def request(self, method, url, **options):
        urls.append(url)
        raise KeyboardInterrupt

    monkeypatch.setattr(RetryingSession, "request", request)
    client = DunyaClient("makam", TOKEN, "https://dunya.example.org")
    with pytest.raises(KeyboardInterrupt):
        client.session.get("http://dunya.example.org/api/makam/recording?page=2")
    assert urls == ["https://dunya.example.org/api/makam/recording?page=2"]


# Metadata


def test_metadata_has_the_tags_of_every_recording(data_dir):
    with DunyaServer(RECORDINGS) as server:
        done = run("get_metadata.py", *arguments(server, data_dir))
    assert done.returncode == 0, done.stderr
    metadata = load_metadata(data_dir / "split" / "metadata.npy")
    assert list(metadata) == IDS
    assert metadata[IDS[1]] == ["makam--Hicaz", "usul--Düyek", "instrument--Ney", "instrument--Ud"]
    assert np.load(data_dir / "split" / "metadata.npy", allow_pickle=True).item() == metadata


def test_recording_without_a_field_gets_the_tags_it_has(data_dir):
    recordings = {id_: dict(one) for id_, one in RECORDINGS.items()}
    del recordings[IDS[0]]["makamlist"]
    recordings[IDS[1]] |= {"usullist": None, "performers": [{"instrument": None}, {"instrument": {"name": "Kanun"}}]}
    recordings[IDS[2]] = {"mbid": IDS[2]}
    with DunyaServer(recordings) as server:
        done = run("get_metadata.py", *arguments(server, data_dir))
    metadata = load_metadata(data_dir / "split" / "metadata.npy")
    assert metadata[IDS[0]] == ["usul--Düyek", "instrument--Ney", "instrument--Ud"]
    assert metadata[IDS[1]] == ["makam--Hicaz", "instrument--Kanun"]
    assert metadata[IDS[2]] == []
    assert "1 of them without any tag" in done.stdout
    assert [line.split()[:5] for line in done.stdout.splitlines() if line.startswith("  ")] == [
        ["makam", "6", "have", "it,", "2"],
        ["usul", "6", "have", "it,", "2"],
        ["instrument", "7", "have", "it,", "1"],
    ]


def test_metadata_is_not_replaced_while_incomplete(data_dir):
    target = data_dir / "split" / "metadata.npy"
    target.write_bytes(b"the old one")
    with DunyaServer(RECORDINGS, api_faults={IDS[3]: ["404*"]}) as server:
        with pytest.raises(IncompleteError, match="was not written"):
            get_metadata.main(arguments(server, data_dir))
        assert target.read_bytes() == b"the old one"
        assert set(failures(data_dir / "split" / "metadata_failed.tsv")) == {IDS[3]}
        with pytest.raises(IncompleteError, match="without tags"):
            get_metadata.main(arguments(server, data_dir, "--allow_incomplete"))
        metadata = load_metadata(target)
        assert metadata[IDS[3]] is None
        assert None not in [metadata[id_] for id_ in IDS if id_ != IDS[3]]
        server.asked.clear()
        server.api_faults.clear()
        get_metadata.main(arguments(server, data_dir))
    assert None not in load_metadata(target).values()
    assert set(server.asked) == {f"/api/makam/recording/{IDS[3]}"}  # only what was missing
    assert not (data_dir / "split" / "metadata_failed.tsv").exists()


@pytest.mark.parametrize("fault", ["429", "500", "cut", "long", "html", "silent"])
def test_passing_fault_of_the_api_is_overcome(data_dir, fault):
    with DunyaServer(RECORDINGS, api_faults={IDS[4]: [fault]}) as server:
        get_metadata.main(arguments(server, data_dir))
    assert list(load_metadata(data_dir / "split" / "metadata.npy")) == IDS


@pytest.mark.parametrize("fault", ["429", "500", "cut", "html", "silent"])
def test_passing_fault_of_the_list_is_overcome(data_dir, fault):
    with DunyaServer(RECORDINGS, api_faults={"": ["", fault]}) as server:
        get_metadata.main(arguments(server, data_dir, "--all"))
    assert list(load_metadata(data_dir / "split" / "metadata.npy")) == IDS


def test_metadata_killed_at_any_moment_goes_on(data_dir):
    script = ROOT / "preprocessing/dunya/get_metadata.py"
    with DunyaServer(RECORDINGS, delay=0.01) as server:
        command = [sys.executable, script, *arguments(server, data_dir, "--workers", "1")]
        for requests in (1, 3, 4):
            kill_after(command, server, requests, 0)
            assert not (data_dir / "split" / "metadata.npy").exists()
        known = len((data_dir / "split" / "metadata.jsonl").read_bytes().splitlines())
        assert known >= 3
        server.asked.clear()
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert list(load_metadata(data_dir / "split" / "metadata.npy")) == IDS
    assert len(server.asked) == len(IDS) - known


def test_refresh_fetches_everything_again(data_dir):
    with DunyaServer(RECORDINGS) as server:
        get_metadata.main(arguments(server, data_dir))
        server.recordings = {id_: {**one, "makamlist": [{"name": "Uşşak"}]} for id_, one in RECORDINGS.items()}
        get_metadata.main(arguments(server, data_dir, "--refresh"))
    assert all("makam--Uşşak" in tags for tags in load_metadata(data_dir / "split" / "metadata.npy").values())


def test_journal_drops_a_line_that_was_cut(tmp_path):
    path = tmp_path / "metadata.jsonl"
    journal = Journal(path)
    journal.add("a", ["raga--Todi"])
    journal.add("b", ["tala--Ādi"])
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        again = Journal(path)
        assert again.tags.items() <= journal.tags.items()
        again.add("c", [])
        assert Journal(path).tags == again.tags
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


@pytest.mark.parametrize(
    ("dataset", "recording", "tags"),
    [  # the mapping of the study, one recording of each tradition
        (
            "hindustani",
            {
                "raags": [{"uuid": "1", "common_name": "Bhairavi", "name": "x"}],
                "taals": [{"common_name": "Tintal"}, {"common_name": "Ektal"}],
                "artists": [{"artist": {}, "instrument": {"name": "Tabla"}}],
                "forms": [{"common_name": "Khayal"}],
                "layas": [{"common_name": "Vilambit"}],
            },
            ["raga--Bhairavi", "tala--Tintal", "tala--Ektal", "instrument--Tabla", "form--Khayal"],
        ),
        (
            "carnatic",
            {
                "raaga": [{"common_name": "Kalyani", "name": "kalyāṇi"}],
                "taala": [{"common_name": "Adi"}],
                "artists": [{"instrument": {"name": "Violin"}}, {"instrument": {"name": "Voice"}}],
                "form": [{"name": "Kriti", "common_name": "x"}],
                "work": [{"title": "x"}],
            },
            ["raga--Kalyani", "tala--Adi", "instrument--Violin", "instrument--Voice", "form--Kriti"],
        ),
        ("makam", details(0), ["makam--Rast", "usul--Düyek", "instrument--Ney", "instrument--Ud"]),
    ],
)
def test_fields_become_tags_as_in_the_study(dataset, recording, tags):
    assert recording_tags(dataset, recording) == tags


# The mp3 check


def test_mp3_cut_anywhere_is_noticed(tmp_path):
    content, path = mp3(0), tmp_path / "a.mp3"
    path.write_bytes(content)
    assert check_mp3(path)
    generator = random.Random(0)
    for length in [len(content) - 1, *(generator.randrange(1000, len(content)) for _ in range(100))]:
        path.write_bytes(content[:length])
        assert not check_mp3(path)


def test_tags_around_the_frames_do_not_count_as_cut(tmp_path):
    path = tmp_path / "a.mp3"
    id3v2 = b"ID3\x04\x00\x00\x00\x00\x02\x01" + b"\xff\xfb\x90\x00" * 64 + b"\x00"
    path.write_bytes(id3v2 + mp3(0) + b"TAG" + b"title".ljust(125, b"\x00"))
    assert check_mp3(path)


def test_what_is_no_mp3_is_refused(tmp_path):
    path = tmp_path / "a.mp3"
    for content in (b"", b"<html>" + b"x" * 5000, b"\x00" * 5000, b"RIFF"):
        path.write_bytes(content)
        with pytest.raises(NotAnMp3):
            check_mp3(path)


# Options


def test_options_out_of_range_are_usage_errors(data_dir):
    with DunyaServer(RECORDINGS) as server:
        for option in (("--workers", "0"), ("--workers", "50"), ("--timeout", "0"), ("--host", "dunya")):
            with pytest.raises(UsageError):
                get_audios.main(arguments(server, data_dir, *option))
    assert not server.asked


def test_missing_lists_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr("preprocessing.dunya.fetch.DATA_DIR", tmp_path / "nothing")
    with DunyaServer(RECORDINGS) as server, pytest.raises(UserError, match=r"get_splits\.py --dataset makam"):
        get_audios.main(arguments(server, tmp_path))


def test_nothing_else_needs_compmusic():
    code = "import sys; sys.modules['compmusic'] = None; import preprocessing.get_splits, datasets, preprocessing.audio"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_threads_share_one_journal(tmp_path):
    journal = Journal(tmp_path / "metadata.jsonl")
    threads = [
        threading.Thread(target=lambda k=k: [journal.add(f"{k}-{i}", ["x" * 50]) for i in range(50)]) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Journal(journal.path).tags) == 200
