"""Is a downloaded file a whole mp3?

An mp3 is a chain of frames, each of which says how long it is (ISO/IEC 11172-3, 2.4.1.3), so a
file that was cut short shows it: its last frame is incomplete, or there are fewer frames than
the encoder's own header counts (the Xing, Info and VBRI headers).
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

import soundfile

_KBPS = {  # bit rates of layer III by bitrate index
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits


class NotAnMp3(Exception):
    """The file cannot be read as an mp3; the message says how so."""


@dataclass(frozen=True)
class _Frame:
    size: int  # bytes
    stream: tuple[int, int]  # version bits and sample rate: the same in all frames of a file
    tag_offset: int  # where in the frame a Xing or Info header would be


def check_mp3(path: Path) -> bool:
    """Check that a file decodes as an mp3.

    Returns:
        Whether it is whole; False where it ends in the middle.

    Raises:
        NotAnMp3: it is empty, of another format, or holds no sound.
    """
    if path.stat().st_size == 0:
        raise NotAnMp3("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if not _is_whole(data):
            return False
    try:
        with soundfile.SoundFile(path) as sound:
            if not sound.format.startswith("MP"):
                raise NotAnMp3(f"not an mp3 but {sound.format}")
            if not len(sound.read(sound.samplerate)):
                raise NotAnMp3("an mp3 without sound")
    except soundfile.SoundFileError as error:
        raise NotAnMp3("cannot be read as an mp3") from error
    return True


def _is_whole(data: mmap.mmap) -> bool:
    position = _first_frame(data)
    first = _frame_at(data, position)
    if first is None:
        return True  # layer I or II, or free format: decodable, but nothing to go by
    announced = _announced_frames(data, position, first)
    count = 0
    while position < len(data):
        frame = _frame_at(data, position)
        if frame is not None and frame.stream == first.stream:
            count += 1
            position += frame.size
            if position > len(data):
                return False
        elif len(data) - position < 4 and data[position] == 0xFF:
            return False  # the beginning of a header
        else:
            position = _next_frame(data, position + 1, first)
    # Encoders differ in whether they count the frame that holds their header.
    return announced is None or count >= announced


_NONE = 1 << 62  # a position past any end: no further frame


def _first_frame(data: mmap.mmap) -> int:
    """Position of the first frame: past an ID3v2 tag, and past whatever is no frame."""
    position = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        size = 0
        for byte in data[6:10]:  # seven bits a byte (ID3v2.4, section 6.2)
            size = size << 7 | byte & 0x7F
        position = 10 + size
    return _next_frame(data, position, None)


def _next_frame(data: mmap.mmap, position: int, like: _Frame | None) -> int:
    """The next position where two frames of one stream follow each other, or `_NONE`."""
    while (position := data.find(b"\xff", position)) >= 0:
        frame = _frame_at(data, position)
        if frame is not None and (like is None or frame.stream == like.stream):
            following = _frame_at(data, position + frame.size)
            if following is not None and following.stream == frame.stream:
                return position
        position += 1
    return _NONE


def _frame_at(data: mmap.mmap, position: int) -> _Frame | None:
    """The layer III frame whose header starts at `position`, if there is one."""
    header = data[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in _SAMPLE_RATES or layer != 1 or bitrate in (0, 15) or rate == 3:
        return None
    mpeg1, mono = version == 3, header[3] >> 6 == 3
    sample_rate = _SAMPLE_RATES[version][rate]
    bits_per_second = 1000 * _KBPS[1 if mpeg1 else 2][bitrate]
    size = (144 if mpeg1 else 72) * bits_per_second // sample_rate + padding
    side_information = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    return _Frame(size, (version, sample_rate), 4 + side_information)


def _announced_frames(data: mmap.mmap, position: int, first: _Frame) -> int | None:
    """How many frames the encoder's header in the first frame says there are, if it has one."""
    tag = position + first.tag_offset
    if data[tag : tag + 4] in (b"Xing", b"Info") and data[tag + 7] & 1:
        return int.from_bytes(data[tag + 8 : tag + 12], "big")
    tag = position + 36
    if data[tag : tag + 4] == b"VBRI":
        return int.from_bytes(data[tag + 14 : tag + 18], "big")
    return None
