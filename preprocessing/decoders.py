"""Opening audio files: libsndfile, and FFmpeg (through PyAV) for what libsndfile cannot open.

libsndfile reads mp3, wav, flac, ogg, opus and aiff, and gives the samples librosa gives. PyAV
is imported only where libsndfile refuses a file, as it does m4a.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from runtime.errors import AudioError

MAX_CHANNELS = 64
SAMPLE_RATES = range(1_000, 768_001)  # Hz; anything else is a damaged header
MAX_BLOCK_VALUES = 2**22  # samples × channels held at once

# FFmpeg reads more than audio: playlists and scripts that name other files are not opened.
FFMPEG_OPTIONS = {"format_whitelist": "mov,aac,mp3,ogg,flac,wav,aiff,matroska,asf", "protocol_whitelist": "file"}

SIZE_NOT_KNOWN = 0x7FFF_F000  # bytes; from here on, what writers to a pipe put for a size they cannot know
SIZES_IN_LOG = r"(?:RIFF|riff|FORM|data|SSND|[Ss]ize) *: (\d+) \(should be (\d+)\)"  # of wav, w64, rf64, aiff, au
_OGG_PAGES = 2 * 65_307  # bytes in which a whole page is found, the largest being half of it
_OGG_BEGINS_STREAM = 2  # a bit of a page's flags
LENGTH_NOT_KNOWN = 2**62  # frames; libsndfile's count where the header gives none


@dataclass(frozen=True)
class AudioSource:
    """An open audio file.

    `promised_frames` is how many frames the container says it holds (None where it does not say),
    `blocks` the samples, float32 in about [-1, 1], each block of shape (frames, channels).
    """

    sample_rate: int  # Hz
    channels: int
    promised_frames: int | None
    blocks: Iterator[np.ndarray]


class _ForwardSoundFile(soundfile.SoundFile):
    """A sound file read from start to end: without the seek that soundfile does after every read."""

    def seekable(self) -> bool:
        return False


@contextmanager
def open_audio(path: Path, block_seconds: float) -> Iterator[AudioSource]:
    """Open `path` and read it in blocks of at most `block_seconds`.

    Raises:
        AudioError: the file cannot be opened, is not audio, or its header makes no sense.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise AudioError(f"{path}: not a file but a directory, a pipe or the like")
    try:
        with path.open("rb") as file:  # the reason in the system's words; libsndfile has only its own
            if not file.read(1):
                raise AudioError(f"{path}: the file is empty")
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        sound = _ForwardSoundFile(os.fsencode(path))
    except soundfile.LibsndfileError:
        with _open_with_ffmpeg(path) as source:
            yield source
        return
    with sound:
        _check_header(path, sound.samplerate, sound.channels)
        if sound.format == "OGG" and _is_chained(path):
            raise AudioError(
                f"{path}: several streams one after another, of which only the first would be read; encode it anew"
            )
        blocks = _sound_blocks(path, sound, block_seconds)
        yield AudioSource(sound.samplerate, sound.channels, _promised_frames(path, sound), blocks)


def _check_header(path: Path, sample_rate: int, channels: int) -> None:
    if sample_rate not in SAMPLE_RATES:
        raise AudioError(f"{path}: damaged header (a sample rate of {sample_rate} Hz)")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{path}: damaged header ({channels} channels)")


def _sound_blocks(path: Path, sound: soundfile.SoundFile, block_seconds: float) -> Iterator[np.ndarray]:
    frames = max(1, min(int(block_seconds * sound.samplerate), MAX_BLOCK_VALUES // sound.channels))
    buffer = np.empty((frames, sound.channels), np.float32)
    try:
        while len(block := sound.read(out=buffer)):
            yield block
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: damaged ({' '.join(str(error).split()).rstrip('.')})") from error


def _promised_frames(path: Path, sound: soundfile.SoundFile) -> int | None:
    """How many frames the header says there are; None where it does not say.

    libsndfile cuts a wav's frame count down to what the file can hold, and notes it in its log as
    "data : 5292000 (should be 2645978)". An mp3's count is a promise only if it comes from a
    Xing, Info or VBRI header; otherwise it is an estimate from the first frame's bit rate.
    """
    if sound.frames >= LENGTH_NOT_KNOWN or (sound.format == "MP3" and not _has_length_header(path)):
        return None
    for said, held in re.findall(SIZES_IN_LOG, sound.extra_info):
        if int(held) < int(said) < SIZE_NOT_KNOWN:
            return int(sound.frames * int(said) / max(1, int(held)))
    return sound.frames


def _has_length_header(path: Path) -> bool:
    """Whether an mp3's first frame gives the length of the whole."""
    with path.open("rb") as file:
        head = file.read(10)
        if head[:3] == b"ID3":  # a tag comes first; its size is in four bytes of seven bits
            size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
            file.seek(10 + size)
        else:
            file.seek(0)
        start = file.read(4096)
    return any(mark in start for mark in (b"Xing", b"Info", b"VBRI"))


def _is_chained(path: Path) -> bool:
    """Whether another stream follows in an Ogg file after those that it begins with, which run side by side."""
    with path.open("rb") as file:
        start = _ogg_pages(file.read(_OGG_PAGES))
        file.seek(max(0, path.stat().st_size - _OGG_PAGES))
        end = _ogg_pages(file.read())
    beginning = list(itertools.takewhile(lambda page: page[0], start))
    later = start[len(beginning) :] + end[-1:]
    return any(begins for begins, _ in later) or not {stream for _, stream in beginning}.issuperset(
        stream for _, stream in later
    )


def _ogg_pages(data: bytes) -> list[tuple[bool, bytes]]:
    """Of each page whose header is in `data`: whether it begins a stream, and the stream's number."""
    places = [match.start() for match in re.finditer(rb"OggS\0", data) if match.start() + 27 <= len(data)]
    return [(bool(data[at + 5] & _OGG_BEGINS_STREAM), data[at + 14 : at + 18]) for at in places]


@contextmanager
def _open_with_ffmpeg(path: Path) -> Iterator[AudioSource]:
    try:
        import av
    except ImportError as error:
        raise AudioError(f"{path}: libsndfile cannot read it; `pip install av` adds m4a and others") from error
    try:
        with av.open(f"file:{path}", options=FFMPEG_OPTIONS) as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: has no audio in it")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise AudioError(f"{path}: damaged, or coded in a way that FFmpeg does not know")
            _check_header(path, stream.rate, stream.channels)
            promised = None
            if "mp4" in container.format.name and stream.duration:
                promised = int(stream.duration * stream.time_base * stream.rate)
            yield AudioSource(stream.rate, stream.channels, promised, _ffmpeg_blocks(container, stream))
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise AudioError(f"{path}: not audio, or damaged: neither libsndfile nor FFmpeg can read it") from error


def _ffmpeg_blocks(container, stream) -> Iterator[np.ndarray]:
    import av

    # Interleaved: PyAV reads past the end of planar frames of more than eight channels.
    to_float = av.AudioResampler(format="flt", layout=stream.layout, rate=stream.rate)
    for frame in itertools.chain(container.decode(stream), [None]):
        for converted in to_float.resample(frame):
            yield converted.to_ndarray().reshape(-1, stream.channels)
