"""The synthetic demo corpora: layouts as published, labels that can be learnt, safe and repeatable making."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from config import DATASETS, MODELS, ROOT
from datasets import open_corpus
from datasets.demo.corpus import MARKER, Settings, make_corpus
from datasets.demo.design import design, generator
from datasets.demo.phrases import melody
from datasets.demo.recipes import RECIPES
from datasets.demo.recipes.recipe import Stage
from datasets.demo.rhythms import DANCES, HINDUSTANI_TALAS, USULS, strokes
from datasets.demo.scales import MAKAMS
from datasets.demo.synthesis import Notes, play
from datasets.demo.timbres import INSTRUMENTS, SAMPLE_RATE
from preprocessing.mel import mel_spectrogram
from runtime.errors import DataError, UsageError

PUBLISHED = ROOT.parent / "shared" / "splits"
SMALL = {"magnatagatune": 40, "fma": 60, "lyra": 80, "makam": 40, "hindustani": 40, "carnatic": 54}
with_audio = pytest.mark.parametrize("dataset", [name for name, config in DATASETS.items() if config.has_audio])
every = pytest.mark.parametrize("dataset", DATASETS)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Makes a small demo corpus of a dataset once."""
    made: dict[str, Path] = {}

    def make(dataset: str) -> Path:
        if dataset not in made:
            made[dataset] = tmp_path_factory.mktemp("demo") / dataset
            make_corpus(Settings(dataset, SMALL[dataset], 4.0, seed=0), made[dataset])
        return made[dataset]

    return make


def content(corpus: Path) -> dict[str, str]:
    """A hash of what each file says: decoded samples of audio, bytes of anything else."""
    return {
        str(path.relative_to(corpus)): hashlib.sha256(
            soundfile.read(path, dtype="float32")[0].tobytes() if path.suffix == ".mp3" else path.read_bytes()
        ).hexdigest()
        for path in sorted(corpus.rglob("*"))
        if path.is_file()
    }


@every
def test_the_reader_of_the_real_corpus_reads_the_demo_corpus(corpora, dataset):
    corpus = open_corpus(dataset, corpora(dataset))
    assert sum(len(split.ids) for split in corpus.splits) == SMALL[dataset]
    ids = [set(split.ids) for split in corpus.splits]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
    for split in corpus.splits:
        support = split.labels.sum(axis=0)
        assert np.all(support > 0), "a tag without positives"
        assert np.all(support < len(split.ids)), "a tag without negatives"


@with_audio
def test_every_listed_recording_has_decodable_audio(corpora, dataset):
    folder = corpora(dataset)
    corpus = open_corpus(dataset, folder)
    files = {path.stem: path for path in (folder / "audios").rglob("*.mp3")}
    for recording in (recording for split in corpus.splits for recording in split.ids):
        samples, _ = soundfile.read(files[recording], dtype="float32")
        assert len(samples) > SAMPLE_RATE
        assert 0.005 < np.max(np.abs(samples)) <= 1.2  # audible, and hardly clipped by the coder


def test_lyra_spectrograms_are_stored_as_the_published_ones(corpora):
    folder = corpora("lyra")
    corpus = open_corpus("lyra", folder)
    arrays = [np.load(folder / "mel-spectrograms" / f"{recording}.npy") for s in corpus.splits for recording in s.ids]
    assert {(array.dtype.name, array.shape[0]) for array in arrays} == {("float32", 128)}
    assert {array.flags.f_contiguous for array in arrays} == {True, False}  # both occur, both must be read


@every
def test_some_recordings_are_shorter_than_each_model_input(dataset):
    recipe = RECIPES[dataset]
    recordings = design(recipe, recipe.recordings, 12.0, generator(0, dataset))
    for split in ("train", "valid", "test"):
        seconds = [r.seconds for r in recordings if r.split == split]
        assert min(seconds) < max(model.input_seconds for model in MODELS.values()) < max(seconds)
    assert min(r.seconds for r in recordings) < min(model.input_seconds for model in MODELS.values())


@pytest.mark.parametrize("dataset", ["magnatagatune", "fma", "makam", "hindustani", "carnatic"])
def test_a_training_and_a_test_recording_have_no_tag_of_the_vocabulary(corpora, dataset):
    corpus = open_corpus(dataset, corpora(dataset))
    for split in (corpus.train, corpus.test):
        assert np.count_nonzero(split.labels.sum(axis=1) == 0) == 1


def test_magnatagatune_clips_outside_the_splits_have_a_row_of_labels(corpora):
    split_dir = corpora("magnatagatune") / "split"
    listed = sum(len(np.load(split_dir / f"{split}.npy")) for split in ("train", "valid", "test"))
    binary, tags = np.load(split_dir / "binary.npy"), np.load(split_dir / "tags.npy")
    assert binary.shape == (listed + 4, len(tags))
    assert sorted(np.unique(binary)) == [0, 1]
    assert np.all(np.diff(binary.sum(axis=0)) <= 0)  # the published tags are in order of frequency, too


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published split files are not beside the repository")
@every
def test_split_and_label_files_are_formed_as_the_published_ones(corpora, dataset):
    ours, theirs = corpora(dataset) / "split", PUBLISHED / dataset
    for file in theirs.iterdir():
        if file.suffix == ".tsv":
            header = file.read_text(encoding="utf-8").splitlines()[0]
            rows = (ours / file.name).read_text(encoding="utf-8").splitlines()
            assert rows[0] == header
            assert {len(row.split("\t")) for row in rows} == {len(header.split("\t"))}
            continue
        a, b = (np.load(folder / file.name, allow_pickle=file.name == "metadata.npy") for folder in (ours, theirs))
        assert (a.ndim, a.dtype.kind) == (b.ndim, b.dtype.kind)
        if file.name == "metadata.npy":
            assert {(type(k), type(v)) for k, v in a.item().items()} == {(str, list)}
            assert {(type(k), type(v)) for k, v in b.item().items()} == {(str, list)}
        elif dataset == "magnatagatune" and file.name != "tags.npy":
            line = re.compile(r"(\d+)\t([0-9a-f])/[^/.]+-\d+-\d+\.mp3")
            matches = [[line.fullmatch(text) for text in lines] for lines in (a, b)]
            assert all(matches[0])
            assert {m[2] for m in matches[0]} <= {m[2] for m in matches[1] if m}
            assert np.all(np.diff([int(m[1]) for m in matches[0]]) > 0)
        elif file.name != "tags.npy":
            assert a.dtype == b.dtype  # <U6 of FMA, <U36 of MusicBrainz identifiers
            shape = re.sub(r"[0-9a-f]", "x", str(b[0]))
            assert {re.sub(r"[0-9a-f]", "x", str(name)) for name in a} == {shape}


def test_lyra_validation_rows_are_those_that_its_reader_chooses(corpora):
    """NumPy's legacy generator, seed 10, picks the validation rows; each region must be among them."""
    corpus = open_corpus("lyra", corpora("lyra"))
    assert len(corpus.valid.ids) == 6
    assert len({recording.split("-")[0] for recording in corpus.valid.ids}) == 6


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another(corpora, tmp_path):
    first = content(corpora("makam"))
    make_corpus(Settings("makam", SMALL["makam"], 4.0, seed=0), tmp_path / "again")
    assert content(tmp_path / "again") == first
    make_corpus(Settings("makam", SMALL["makam"], 4.0, seed=1), tmp_path / "other")
    other = content(tmp_path / "other")
    assert not set(first.values()) & set(other.values())


@every
def test_a_recording_sounds_the_same_whenever_it_is_played(dataset):
    recipe = RECIPES[dataset]
    for seed in (0, 1):
        recording = design(recipe, recipe.recordings, 4.0, generator(seed, dataset))[0]
        first, again = (
            recipe.perform(recording.choice, Stage(recording.seconds, generator(seed, dataset, 1))) for _ in range(2)
        )
        np.testing.assert_array_equal(first, again)
        other = recipe.perform(recording.choice, Stage(recording.seconds, generator(seed, dataset, 2)))
        assert not np.array_equal(first, other)


def test_a_finished_corpus_is_left_as_it_is_and_an_interrupted_one_is_finished(corpora, tmp_path, monkeypatch):
    settings, out = Settings("makam", SMALL["makam"], 4.0, seed=0), tmp_path / "corpus"
    perform, performed = RECIPES["makam"].perform, []

    def interrupted(choice, stage):
        performed.append(choice)
        if len(performed) == 11:
            raise KeyboardInterrupt
        return perform(choice, stage)

    with monkeypatch.context() as patch:
        patch.setitem(make_corpus.__globals__, "RECIPES", {"makam": replace(RECIPES["makam"], perform=interrupted)})
        with pytest.raises(KeyboardInterrupt):
            make_corpus(settings, out)
    assert not (out / "split").exists()
    assert make_corpus(settings, out).made == 30
    assert content(out) == content(corpora("makam"))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp3")}
    assert make_corpus(settings, out).made == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.mp3")}


def test_a_directory_that_is_not_a_demo_corpus_is_refused_and_untouched(tmp_path):
    (tmp_path / "audios").mkdir()
    (tmp_path / "audios" / "mine.mp3").write_bytes(b"mine")
    with pytest.raises(UsageError, match="not empty"):
        make_corpus(Settings("makam", 40, 4.0, 0), tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["audios", "mine.mp3"]
    assert (tmp_path / "audios" / "mine.mp3").read_bytes() == b"mine"


def test_a_demo_corpus_with_other_settings_is_refused(corpora):
    folder = corpora("makam")
    before = content(folder)
    with pytest.raises(UsageError, match="other settings"):
        make_corpus(Settings("makam", SMALL["makam"], 4.0, seed=5), folder)
    assert content(folder) == before


def test_an_impossible_directory_or_too_few_recordings_are_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot create the directory"):
        make_corpus(Settings("makam", 40, 4.0, 0), tmp_path / "file" / "corpus")
    with pytest.raises(UsageError, match="too few"):
        make_corpus(Settings("makam", 10, 4.0, 0), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_the_command_says_that_it_is_synthetic_in_help_output_and_readme(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "datasets.demo", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
        )

    assert "SYNTHETIC" in run("--help").stdout
    done = run("--dataset", "makam", "--out", str(tmp_path / "c"), "--recordings", "40", "--seconds", "4")
    assert (done.returncode, done.stdout.count("SYNTHETIC")) == (0, 1)
    assert (tmp_path / "c" / "README.txt").read_text().startswith("SYNTHETIC")
    assert '"synthetic": true' in (tmp_path / "c" / MARKER).read_text()
    refused = run("--dataset", "makam", "--out", str(tmp_path))
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)


# Musical sense


def test_makams_have_their_commas():
    """Hicaz has the augmented second of 12 commas on its second degree; rast's third is a comma below the major one."""
    commas = {name: np.round(np.asarray(scale.ascent) * 53 / 1200, 6) for name, scale in MAKAMS.items()}
    assert commas["Hicaz"].tolist() == [0, 5, 17, 22, 31, 39, 44]
    assert commas["Rast"].tolist() == [0, 9, 17, 22, 31, 40, 48]
    assert commas["Rast"][2] == round(53 * np.log2(81 / 64)) - 1  # 18 commas make a Pythagorean third
    assert all(round(scale.ascent[4] * 53 / 1200) == 31 for name, scale in MAKAMS.items() if name != "Hüzzam")


@pytest.mark.parametrize("instrument", ["kemençe", "ney", "kanun", "harmonium", "ornate voice", "sawtooth"])
def test_an_instrument_sounds_the_pitch_it_is_given(instrument):
    """The strongest partial near k·f lies at k·f to a third of a comma, whatever the resonances."""
    timbre = INSTRUMENTS[instrument]
    pitch = float(np.sqrt(timbre.low * timbre.high))
    note = Notes(np.array([0.0]), np.array([2.0]), np.array([pitch]), np.array([1.0]))
    sound = play(timbre, note, 2 * SAMPLE_RATE, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 18))
    frequency = np.fft.rfftfreq(1 << 18, 1 / SAMPLE_RATE)
    window = np.where(np.abs(frequency / pitch - 1) < 0.05, spectrum, 0)
    centroid = np.sum(frequency * window**2) / np.sum(window**2)  # vibrato is symmetric about the pitch
    assert abs(1200 * np.log2(centroid / pitch)) < 1200 / 53 / 3 + timbre.detune / 2


def test_cycles_have_their_pulses_and_strokes_fall_on_them():
    lengths = {"Aksak": 9, "Düyek": 8, "Curcuna": 10, "Sofyan": 4, "Yürüksemai": 6}
    assert {name: len(USULS[name].strokes) for name in lengths} == lengths
    assert {name: len(cycle.strokes) for name, cycle in HINDUSTANI_TALAS.items()} == {
        "Teentaal": 16,
        "Ektaal": 12,
        "Jhaptaal": 10,
        "Rupak": 7,
    }
    assert DANCES["kalamatianos"].groups == (3, 2, 2)
    hits = strokes(USULS["Aksak"], 20.0, np.random.default_rng(0))
    pulses = np.array([onset for onset, _, _ in hits]) * USULS["Aksak"].rate / 60
    assert np.max(np.abs(pulses - np.round(pulses))) < 0.2
    assert {int(p) % 9 for p in np.round(pulses)} == {0, 2, 3, 4, 6, 8}


def test_a_melody_keeps_to_its_makam_and_its_instrument():
    scale, timbre = MAKAMS["Hicaz"], INSTRUMENTS["ney"]
    notes = melody(scale, USULS["Düyek"], timbre, 30.0, np.random.default_rng(1))
    assert timbre.low <= notes.pitch.min() and notes.pitch.max() <= timbre.high
    cents = 1200 * np.log2(notes.pitch / scale.tonic) % 1200
    distance = np.abs(cents[:, None] - np.array([*scale.ascent, 1200.0]))
    assert np.max(np.min(distance, axis=1)) < 1e-6
    assert len(np.unique(np.round(cents) % 1200)) >= 5


@pytest.mark.parametrize("dataset", ["magnatagatune", "makam"])
def test_tags_are_audible_in_the_mean_spectrum(dataset):
    """A linear classifier of scikit-learn on the mean and spread of each mel band hears most tags."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    recipe = RECIPES[dataset]
    recordings = [r for r in design(recipe, 80, 4.0, generator(0, dataset)) if r.split in ("train", "test")]
    features = []
    for recording in recordings:
        stage = Stage(recording.seconds, generator(0, dataset, recording.number))
        spectrogram = mel_spectrogram(recipe.perform(recording.choice, stage))
        features.append(np.concatenate([spectrogram.mean(axis=1), spectrogram.std(axis=1)]))
    features, training = np.array(features), np.array([r.split == "train" for r in recordings])
    scores = []
    for tag in sorted({tag for r in recordings if r.split == "train" for tag in r.tags}):
        has = np.array([tag in r.tags for r in recordings])
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        classifier.fit(features[training], has[training])
        scores.append(roc_auc_score(has[~training], classifier.decision_function(features[~training])))
    assert np.mean(scores) > 0.75
