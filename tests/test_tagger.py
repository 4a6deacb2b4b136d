"""The Python API: scores are those of `evaluate.py`, whatever the source, the device or the thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from config import MODELS, run_config
from datasets import open_corpus, open_recordings
from datasets.corpus import Split
from evaluation.run import EvaluationSettings, evaluate
from evaluation.scoring import score_recordings
from preprocessing.audio import load_audio
from preprocessing.mel import mel_spectrogram
from runtime.devices import resolve_precision
from runtime.errors import AudioError, CheckpointError, DataError, UsageError
from tagging import Tagger, analyse
from tagging.results import split_tag
from tests.corpora import make_corpus, write_spectrogram
from tests.saved_models import NORMALISATION, TAGS, random_network, save_random
from tests.sounds import melody, write_melody

CPU = torch.device("cpu")
MODEL_SETTINGS = {"vgg_ish": {}, "musicnn": {}, "ast": {"ast_size": "tiny224"}}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("saved_models")
    paths = {model: root / "makam" / f"{model}.pth" for model in MODELS}
    for model, path in paths.items():
        save_random(path, model, **MODEL_SETTINGS[model])
    return paths


@pytest.fixture(scope="module")
def taggers(checkpoints: dict[str, Path]) -> dict[str, Tagger]:
    return {model: Tagger.load(path, device="cpu") for model, path in checkpoints.items()}


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_melody(tmp_path_factory.mktemp("songs") / "song.wav", 20.5, 22_050, 2)


def reference_scores(model: torch.nn.Module, spectrogram: np.ndarray) -> np.ndarray:
    """The study's scores, written out: consecutive chunks, averaged before (AST: after) the sigmoid."""
    frames = model.input_frames
    chunks = [spectrogram.T[i : i + frames] for i in range(0, spectrogram.shape[1] - frames + 1, frames)]
    with torch.no_grad():
        logits = model(torch.from_numpy(np.stack(chunks)))
    return (logits.mean(0).sigmoid() if model.name == "ast" else logits.sigmoid().mean(0)).numpy()


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_those_that_evaluation_gives(tmp_path: Path, model: str) -> None:
    corpus = make_corpus(tmp_path / "corpus", counts=(6, 2, 3), n_frames=500)
    checkpoint = tmp_path / "models" / "makam" / f"{model}.pth"
    save_random(checkpoint, model, tags=open_corpus("makam", corpus).tags, **MODEL_SETTINGS[model])
    settings = EvaluationSettings(
        run=run_config("makam", model),
        data_dir=corpus,
        models_dir=tmp_path / "models",
        evaluation_dir=tmp_path / "evaluation",
        device="cpu",
        precision="float32",
    )
    _, evaluated, _ = evaluate(settings)
    tagger = Tagger.load(checkpoint, device="cpu")
    for id_, expected in zip(evaluated.ids, evaluated.scores, strict=True):
        scores = tagger.tag(corpus / "mel-spectrograms" / f"{id_}.npy").scores
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert np.ptp(evaluated.scores) > 0.05  # scores that are all alike would prove nothing


@pytest.mark.parametrize("model", MODELS)
def test_audio_gives_the_scores_of_its_spectrogram_by_the_studys_definition(taggers, song: Path, model: str) -> None:
    network = random_network(model, len(TAGS), **MODEL_SETTINGS[model])
    expected = reference_scores(network, mel_spectrogram(load_audio(song)))
    analysis = taggers[model].tag(song)
    np.testing.assert_allclose(analysis.scores, expected, rtol=0, atol=1e-5)
    assert analysis.tags == TAGS
    assert len(analysis.chunk_scores) == int(20.5 * 62.5) // network.input_frames


def test_a_recording_shorter_than_a_chunk_is_padded_with_silence(tmp_path: Path, taggers) -> None:
    short = np.random.default_rng(0).normal(-50, 8, (60, 128)).astype(np.float32)
    write_spectrogram(tmp_path / "short.npy", short)
    split = Split("test", ("short",), np.zeros((1, len(TAGS)), np.uint8), tmp_path)
    network = random_network("vgg_ish", len(TAGS))
    expected = score_recordings(network, open_recordings(split), CPU, resolve_precision("float32", CPU), 4)
    analysis = taggers["vgg_ish"].tag(tmp_path / "short.npy")
    np.testing.assert_allclose(analysis.scores, expected[0], rtol=0, atol=1e-5)
    assert analysis.seconds == pytest.approx(60 / 62.5)
    assert len(analysis.starts) == 1


def test_a_waveform_gives_the_scores_of_its_file(taggers, song: Path) -> None:
    samples, rate = soundfile.read(song, dtype="float32")
    expected = taggers["vgg_ish"].tag(song).scores
    for waveform in (torch.from_numpy(samples.T.copy()), samples.T, torch.from_numpy(samples.T.astype(np.float64))):
        np.testing.assert_allclose(taggers["vgg_ish"].tag(waveform, rate).scores, expected, rtol=0, atol=1e-5)


def test_several_models_share_one_decode(monkeypatch: pytest.MonkeyPatch, taggers, song: Path) -> None:
    import tagging.sources

    decoded = []
    real = tagging.sources.stream_audio
    monkeypatch.setattr(tagging.sources, "stream_audio", lambda *a: decoded.append(a) or real(*a))
    together = analyse(list(taggers.values()), song)
    assert len(decoded) == 1
    for model, analysis in zip(taggers, together, strict=True):
        np.testing.assert_array_equal(analysis.scores, taggers[model].tag(song).scores)


def test_the_embedding_is_what_the_final_layer_turns_into_the_logits(taggers, song: Path) -> None:
    sizes = {"vgg_ish": 512, "musicnn": 200, "ast": 192}  # AST: 768 in the study's size
    for model, tagger in taggers.items():
        chunks = tagger.embed(song, per_chunk=True)
        assert chunks.shape == (int(20.5 * 62.5) // MODELS[model].input_frames, sizes[model])
        np.testing.assert_allclose(tagger.embed(song), chunks.mean(axis=0), rtol=1e-4, atol=1e-5)
        final = tagger.model.get_submodule(tagger.model.final_layer)
        logits = chunks @ final.weight.detach().numpy().T + final.bias.detach().numpy()
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), tagger.tag(song).chunk_scores, atol=1e-5)


def test_chunks_overlap_as_asked_and_start_where_they_say(taggers, song: Path) -> None:
    tagger = taggers["musicnn"]  # 187 frames, 2.992 s
    spectrogram = mel_spectrogram(load_audio(song))
    analysis = tagger.tag(song, overlap=0.5)
    hop = round(187 / 2)
    assert len(analysis.starts) == (spectrogram.shape[1] - 187) // hop + 1
    np.testing.assert_allclose(analysis.starts, np.arange(len(analysis.starts)) * hop / 62.5)
    network = random_network("musicnn", len(TAGS))
    for i in (0, 3, len(analysis.starts) - 1):
        first = round(analysis.starts[i] * 62.5)
        chunk = torch.from_numpy(np.ascontiguousarray(spectrogram.T[first : first + 187]))[None]
        with torch.no_grad():
            np.testing.assert_allclose(analysis.chunk_scores[i], network.scores(chunk)[0], rtol=0, atol=1e-5)
    for overlap in (-0.1, 0.96, 1.0, float("nan")):
        with pytest.raises(UsageError, match="overlap"):
            tagger.tag(song, overlap=overlap)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_does_not_change_the_scores(checkpoints, taggers, song: Path, batch_size: int) -> None:
    tagger = Tagger.load(checkpoints["vgg_ish"], device="cpu", batch_size=batch_size)
    expected = taggers["vgg_ish"].tag(song, overlap=0.7)
    found = tagger.tag(song, overlap=0.7)
    np.testing.assert_allclose(found.chunk_scores, expected.chunk_scores, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.starts, expected.starts)


def test_only_the_beginning_is_used_where_the_study_does_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def band_means(self: Tagger, chunks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # a quick network
        return chunks.mean(axis=1)[:, 20:26] / 10, np.zeros((len(chunks), 512), np.float32)

    monkeypatch.setattr(Tagger, "run", band_means)
    path = write_melody(tmp_path / "long.flac", 160)
    makam, lyra = (
        Tagger(random_network("vgg_ish", 6), TAGS, dataset=name, model_name="x") for name in ("makam", "lyra")
    )
    assert makam.tag(path).seconds == pytest.approx(160, abs=0.02)
    together = analyse([makam, lyra], path, as_in_study=True)
    assert [one.seconds for one in together] == pytest.approx([150, 160], abs=0.02)
    spectrogram = mel_spectrogram(load_audio(path, 150)).T  # what create_mel_spectrograms.py gives evaluate.py
    chunks = spectrogram[: len(spectrogram) // 230 * 230].reshape(-1, 230, 128)
    expected = (1 / (1 + np.exp(-chunks.mean(axis=1)[:, 20:26] / 10))).mean(axis=0)
    for analysis in (makam.tag(path, as_in_study=True), together[0]):
        np.testing.assert_allclose(analysis.scores, expected, rtol=0, atol=1e-6)
    assert makam.tag(path, max_seconds=10, as_in_study=True).seconds == pytest.approx(10, abs=0.02)


def test_threads_may_share_a_tagger(tmp_path: Path, taggers) -> None:
    paths = [write_melody(tmp_path / f"{i}.wav", 8.1, seed=i) for i in range(3)]
    for tagger in taggers.values():
        alone = [tagger.tag(path).scores for path in paths]
        found: dict[int, np.ndarray] = {}

        def work(first: int, tagger: Tagger = tagger, found: dict[int, np.ndarray] = found) -> None:
            for i in range(first, 6, 3):
                found[i] = tagger.tag(paths[i % 3]).scores

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 6
        for i, scores in found.items():
            np.testing.assert_allclose(scores, alone[i % 3], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "options"),
    [
        ("low.wav", 8_000, 1, {}),
        ("high.wav", 96_000, 2, {"subtype": "PCM_24"}),
        ("a.flac", 44_100, 2, {}),
        ("a.mp3", 44_100, 2, {}),
        ("a.ogg", 48_000, 1, {}),
        ("a.opus", 48_000, 2, {"format": "OGG", "subtype": "OPUS"}),
    ],
)
def test_formats_rates_and_channels_give_nearly_the_same_scores(
    tmp_path: Path, taggers, name: str, rate: int, channels: int, options: dict
) -> None:
    tone = melody(8, 96_000)[:, 0]
    import soxr

    samples = soxr.resample(tone, 96_000, rate)
    soundfile.write(tmp_path / name, np.stack([samples] * channels, axis=1), rate, **options)
    expected = taggers["musicnn"].tag(soxr.resample(tone, 96_000, min(rate, 16_000)), min(rate, 16_000)).scores
    np.testing.assert_allclose(taggers["musicnn"].tag(tmp_path / name).scores, expected, rtol=0, atol=0.15)


def test_silence_has_finite_scores(tmp_path: Path, taggers) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000 * 9), 16_000)
    for tagger in taggers.values():
        analysis = tagger.tag(tmp_path / "silence.wav")
        assert np.isfinite(analysis.chunk_scores).all()


def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path, taggers) -> None:
    tagger = taggers["vgg_ish"]
    (tmp_path / "text.mp3").write_text("not audio " * 100)
    (tmp_path / "empty.wav").touch()
    np.save(tmp_path / "matrix.npy", np.zeros((4, 4), np.float32))
    for name in ("text.mp3", "empty.wav", "absent.mp3", "absent.npy", "matrix.npy"):
        with pytest.raises(DataError) as caught:
            tagger.tag(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    for waveform, rate in ((torch.zeros(9), None), (torch.zeros(9), 0), (torch.zeros(99, dtype=torch.int16), 8000)):
        with pytest.raises(UsageError):
            tagger.tag(waveform, rate)
    for waveform in (torch.zeros(16_000, 2), torch.zeros(1, 2, 16_000), [0.0] * 16_000):
        with pytest.raises(UsageError):
            tagger.tag(waveform, 16_000)
    with pytest.raises(AudioError):
        tagger.tag(torch.full((16_000,), float("nan")), 16_000)
    with pytest.raises(AudioError, match="too short"):
        tagger.tag(torch.zeros(0), 16_000)
    assert threading.active_count() < 10  # no decoder is left behind


def test_a_bare_state_dict_needs_what_it_does_not_carry(tmp_path: Path, song: Path) -> None:
    for model, options in (
        ("vgg_ish", {}),
        ("musicnn", {"musicnn_layout": "published"}),
        ("ast", {"normalisation": tuple(NORMALISATION.values())}),
    ):
        settings = {"musicnn_layout": "published"} if model == "musicnn" else MODEL_SETTINGS[model]
        network = random_network(model, len(TAGS), **settings)
        path = tmp_path / "makam" / f"{model}.pth"
        path.parent.mkdir(exist_ok=True)
        torch.save(network.state_dict(), path)
        with pytest.raises(CheckpointError, match="does not name its 6 tags"):
            Tagger.load(path, device="cpu")
        with pytest.raises(CheckpointError, match="6 outputs"):
            Tagger.load(path, device="cpu", tags=TAGS[:4], **options)
        tagger = Tagger.load(path, device="cpu", tags=TAGS, **options)
        assert tagger.label == f"makam/{model}"
        if model == "ast":
            with pytest.raises(CheckpointError, match="normalisation"):
                Tagger.load(path, device="cpu", tags=TAGS)
            continue  # AST's size is not in its weights: tiny is 192 wide, which tells
        expected = reference_scores(network, mel_spectrogram(load_audio(song)))
        np.testing.assert_allclose(tagger.tag(song).scores, expected, rtol=0, atol=1e-5)


def test_tags_are_grouped_by_family(taggers, song: Path) -> None:
    analysis = taggers["vgg_ish"].tag(song)
    families = analysis.top_by_family(2)
    assert list(families) == ["instrument", "makam", "usul"]
    assert [len(tags) for tags in families.values()] == [2, 2, 1]
    ranked = sorted(analysis.as_dict().items(), key=lambda item: -item[1])
    assert analysis.top(4) == ranked[:4]
    assert split_tag("Hip-Hop", "fma") == ("genre", "Hip-Hop")
    assert split_tag("no vocals", "magnatagatune") == ("tag", "no vocals")
    assert split_tag("place--None", "lyra") == ("place", "None")


def test_memory_does_not_grow_with_the_recording(tmp_path: Path, checkpoints) -> None:
    """The peak over half an hour is that over five minutes (float32 at 16 kHz alone would add 96 MB)."""
    script = (
        "import sys, resource, torch; torch.set_num_threads(1)\n"
        "from tagging import Tagger\n"
        "import numpy as np\n"
        "tagger = Tagger.load(sys.argv[1], device='cpu')\n"
        "tagger.run = lambda chunks: [np.zeros((len(chunks), n), np.float32) for n in (6, 512)]  # quick\n"
        "assert tagger.tag(sys.argv[2]).seconds > float(sys.argv[3])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = []
    for minutes in (5, 30):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 16_000, 1) as file:
            minute = melody(60)
            for _ in range(minutes):
                file.write(minute)
        command = [sys.executable, "-c", script, checkpoints["vgg_ish"], path, str(minutes * 60 - 1)]
        result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        peaks.append(int(result.stdout) * (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 30e6
