"""Decoding: the samples are librosa's, damage is told, and no more is decoded than asked for."""

import math
import os
import struct
import tracemalloc
import warnings

import librosa
import numpy as np
import pytest
import soundfile

from preprocessing.audio import load_audio, stream_audio
from runtime.errors import AudioError

warnings.filterwarnings("ignore", module="librosa")


def chord(seconds: float, rate: int, channels: int = 2) -> np.ndarray:
    """A decaying chord with noise, other notes in each channel: float32 (samples, channels)."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(channels).normal(scale=0.01, size=(len(time), channels))
    notes = [sum(np.sin(2 * np.pi * 220 * (c + 1) * h * time) / h for h in (1, 2, 3)) for c in range(channels)]
    decay = np.exp(-2 * (time % 0.5))
    return (0.2 * decay[:, None] * np.stack(notes, axis=1) + noise).astype(np.float32)


def write(path, samples, rate, **options):
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize(
    ("name", "rate", "channels", "options"),
    [
        ("a.mp3", 44100, 2, {}),
        ("mono.mp3", 16000, 1, {}),
        ("vbr.mp3", 48000, 2, {"bitrate_mode": "VARIABLE"}),
        ("a.wav", 44100, 2, {}),
        ("six_channels.wav", 48000, 6, {}),
        ("telephone.wav", 8000, 1, {}),
        ("as_wanted.wav", 16000, 2, {}),
        ("float.wav", 22050, 1, {"subtype": "FLOAT"}),
        ("odd_rate.flac", 44056, 2, {}),
        ("high_rate.flac", 96000, 2, {"subtype": "PCM_24"}),
        ("a.ogg", 44100, 2, {}),
        ("a.opus", 48000, 2, {"format": "OGG", "subtype": "OPUS"}),
        ("a.aiff", 11025, 1, {}),
    ],
)
def test_samples_are_those_of_librosa(tmp_path, name, rate, channels, options):
    path = write(tmp_path / name, chord(3.3, rate, channels), rate, **options)
    expected, _ = librosa.load(path, sr=16000, mono=True)
    samples = load_audio(path)
    assert samples.dtype == np.float32
    assert samples.shape == expected.shape
    assert np.abs(samples - expected).max() <= 1e-6


@pytest.mark.parametrize("block_seconds", [0.05, 0.3, 10.0])
def test_blocks_of_any_size_join_to_the_same_samples(tmp_path, block_seconds):
    path = write(tmp_path / "a.mp3", chord(4, 44100), 44100)
    joined = np.concatenate(list(stream_audio(path, block_seconds=block_seconds)))
    assert np.array_equal(joined, load_audio(path))


@pytest.mark.parametrize("max_seconds", [0.5, 1.23, 4, 100])
def test_cut_recording_is_the_beginning_of_the_whole(tmp_path, max_seconds):
    path = write(tmp_path / "a.mp3", chord(4, 44100), 44100)
    whole = load_audio(path)
    cut = load_audio(path, max_seconds)
    assert len(cut) == min(len(whole), int(max_seconds * 16000))
    assert np.array_equal(cut, whole[: len(cut)])


def test_decoding_stops_at_the_maximum_length(tmp_path):
    path = write(tmp_path / "a.flac", chord(20, 44100), 44100)
    whole = load_audio(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError):
        load_audio(path)
    assert np.array_equal(load_audio(path, 5), whole[: 5 * 16000])  # what is damaged comes later


def test_memory_does_not_grow_with_the_recording(tmp_path):
    def peak(seconds: int) -> int:
        path = write(tmp_path / f"{seconds}.wav", np.zeros((seconds * 8000, 2), np.int16), 8000)
        tracemalloc.start()
        try:
            assert sum(map(len, stream_audio(path))) == seconds * 16000
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # imports and caches
    assert peak(1200) < 1.5 * peak(60) < 4e6


def test_m4a_is_read(tmp_path):
    av = pytest.importorskip("av")
    samples = chord(3, 44100)
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44100, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    decoded = load_audio(path)
    original = load_audio(write(tmp_path / "a.wav", samples, 44100))
    assert abs(len(decoded) - len(original)) <= 1024  # AAC codes 1024 samples at a time
    common = min(len(decoded), len(original))
    assert np.corrcoef(decoded[:common], original[:common])[0, 1] > 0.99

    cut = path.read_bytes()[:2000]
    path.write_bytes(cut)
    with pytest.raises(AudioError):
        load_audio(path)


@pytest.mark.parametrize("channels", [1, 2, 12])
def test_ffmpeg_gives_the_samples_of_libsndfile(tmp_path, channels):
    """The same samples in a container that only FFmpeg reads; PyAV's planar frames break above 8 channels."""
    av = pytest.importorskip("av")
    samples = chord(2, 44100, channels)
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=44100, layout=f"{channels}c")
        for start in range(0, len(samples), 4410):
            block = np.ascontiguousarray(samples[start : start + 4410]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="flt", layout=f"{channels}c")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(stream.encode(frame))
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(path)
    expected = load_audio(write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT"))
    decoded = load_audio(path)
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected).max() <= 1e-6
    path.write_bytes(path.read_bytes().replace(b"moov", b"lost"))
    with pytest.raises(AudioError):
        load_audio(path)


def wav_bytes(tmp_path, seconds=2.0, **options) -> bytearray:
    path = write(tmp_path / "whole.wav", chord(seconds, 16000), 16000, **options)
    return bytearray(path.read_bytes())


def test_wav_header_of_a_pipe_is_no_promise(tmp_path):
    data = wav_bytes(tmp_path)
    whole = load_audio(tmp_path / "whole.wav")
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path = tmp_path / "piped.wav"
    path.write_bytes(data)
    assert np.array_equal(load_audio(path), whole)


def test_wrong_numbers_that_are_no_size_are_no_promise(tmp_path):
    """libsndfile's log notes them in the same words as sizes: "Bytes/sec : 999999 (should be 64000)"."""
    data = wav_bytes(tmp_path)
    whole = load_audio(tmp_path / "whole.wav")
    path = tmp_path / "careless.wav"
    path.write_bytes(patched(data, 28, struct.pack("<I", 999_999)))
    with soundfile.SoundFile(path) as sound:
        assert "(should be " in sound.extra_info
    assert np.array_equal(load_audio(path), whole)


@pytest.mark.parametrize("name", ["a.wav", "a.w64", "a.flac", "a.aiff", "a.au", "a.mp3"])
@pytest.mark.parametrize("part", [0.9, 0.5, 0.1])
def test_cut_short_is_told_where_the_header_gives_the_length(tmp_path, name, part):
    path = write(tmp_path / name, chord(12, 44100), 44100)
    load_audio(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(AudioError, match=r"cut short|lost sync|end of file") as caught:
        load_audio(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mp3_without_a_length_header_gives_what_is_there(tmp_path):
    """The length of such a file is a guess from its first frame: ending earlier is no damage."""
    path = write(tmp_path / "a.mp3", chord(12, 44100), 44100, bitrate_mode="CONSTANT", compression_level=0.5)
    data = path.read_bytes()
    first_frame = data.index(data[:3], 4)  # the frame before it holds the Info header
    path.write_bytes(data[first_frame : len(data) // 2])
    expected, _ = librosa.load(path, sr=16000)
    assert np.abs(load_audio(path) - expected).max() <= 1e-6
    assert len(expected) == pytest.approx(6 * 16000, rel=0.05)


def test_mp3_after_an_id3_tag_keeps_its_promise(tmp_path):
    path = write(tmp_path / "a.mp3", chord(12, 44100), 44100)
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 78, 32]) + bytes(78 * 128 + 32)
    path.write_bytes(tag + path.read_bytes())
    expected, _ = librosa.load(path, sr=16000)
    assert np.abs(load_audio(path) - expected).max() <= 1e-6
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="cut short"):
        load_audio(path)


def patched(data: bytearray, position: int, value: bytes) -> bytes:
    return bytes(data[:position]) + value + bytes(data[position + len(value) :])


def flac_of_a_trillion(tmp_path) -> bytes:
    path = write(tmp_path / "whole.flac", chord(1, 16000), 16000)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # the 36 bits of STREAMINFO that hold the number of samples
    data[22:26] = b"\xff\xff\xff\xff"
    return bytes(data)


BAD_FILES = {
    "empty": lambda tmp: b"",
    "text": lambda tmp: b"this is not music\n" * 500,
    "html": lambda tmp: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "playlist": lambda tmp: b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "zeros": lambda tmp: bytes(20_000),
    "random": lambda tmp: np.random.default_rng(0).bytes(20_000),
    "header_only": lambda tmp: bytes(wav_bytes(tmp)[:44]),
    "no_samples": lambda tmp: bytes(wav_bytes(tmp, seconds=0)),
    "half_a_header": lambda tmp: bytes(wav_bytes(tmp)[:30]),
    "rate_of_zero": lambda tmp: patched(wav_bytes(tmp), 24, struct.pack("<I", 0)),
    "rate_of_a_billion": lambda tmp: patched(wav_bytes(tmp), 24, struct.pack("<I", 10**9)),
    "channels": lambda tmp: patched(wav_bytes(tmp), 22, struct.pack("<H", 500)),
    "trillion_frames": flac_of_a_trillion,
    "nan": lambda tmp: patched(wav_bytes(tmp, subtype="FLOAT"), 20_000, struct.pack("<f", math.nan)),
    "infinite": lambda tmp: patched(wav_bytes(tmp, subtype="FLOAT"), 20_000, struct.pack("<f", -math.inf)),
    "huge": lambda tmp: patched(wav_bytes(tmp, subtype="FLOAT"), 20_000, struct.pack("<f", 1e30)),
}


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".m4a"])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_is_told_in_one_line(tmp_path, kind, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(BAD_FILES[kind](tmp_path))
    with pytest.raises(AudioError) as caught:
        load_audio(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_missing_and_unreadable_files_are_told(tmp_path):
    with pytest.raises(AudioError, match="No such file"):
        load_audio(tmp_path / "none.mp3")
    with pytest.raises(AudioError, match="directory"):
        load_audio(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp3")
    with pytest.raises(AudioError, match="pipe"):
        load_audio(tmp_path / "pipe.mp3")


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1), (4, 4), (40, 1)])
def test_ogg_streams_one_after_another_are_refused_not_cut(tmp_path, first, second):
    """libsndfile, and so librosa, reads the first of them and says nothing."""
    paths = [write(tmp_path / f"{i}.ogg", chord(s, 44100), 44100) for i, s in enumerate((first, second))]
    assert [len(load_audio(path)) for path in paths] == [first * 16000, second * 16000]
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(paths[0].read_bytes() + paths[1].read_bytes())
    with pytest.raises(AudioError, match="several streams one after another"):
        load_audio(chained)
