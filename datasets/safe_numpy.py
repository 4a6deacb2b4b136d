"""Read `.npy` files from anywhere without trusting them.

NumPy's own reader allocates what a header claims before it looks at the file's size, and reads
object arrays by running a pickle. Here a header is checked against the file first, and the one
pickled format the study uses (`metadata.npy`, a dict in a 0-dimensional object array) goes
through an unpickler that can build dicts, lists, strings and numbers, and nothing else.
"""

from __future__ import annotations

import io
import os
import pickle
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from runtime.errors import DataError
from runtime.pickles import check_pickle

# Opcodes of plain containers, strings and numbers, and those NumPy needs to frame an array.
_OPCODES = frozenset(
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT "
    "UNICODE BINUNICODE SHORT_BINUNICODE STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES "
    "EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS "
    "PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD".split()
)
_USUAL_HEADER_BYTES = 128
_MAX_HEADER_BYTES = 2**16
_MAX_METADATA_BYTES = 64 * 2**20


@dataclass(frozen=True)
class NpyHeader:
    """What a `.npy` header says, checked against the file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool
    offset: int  # bytes from the start of the file to the first value


def read_npy_header(file: BinaryIO, size: int, path: Path) -> NpyHeader:
    """Read and check the header of an open `.npy` file of `size` bytes.

    Raises:
        DataError: not a `.npy` file, a damaged header, or (unless it holds objects) a header
            that claims another amount of data than the file has.
    """
    try:
        beginning = file.read(_USUAL_HEADER_BYTES)
        length = min(_claimed_length(beginning), _MAX_HEADER_BYTES)  # NumPy would make room for any that is claimed
        if length > len(beginning):
            beginning += file.read(length - len(beginning))
        shape, fortran_order, dtype, offset = _parsed(beginning[:length])
    except Exception as error:  # ValueError, SyntaxError, TokenError, …: a damaged header raises nearly anything
        raise DataError(f"{path} is not a readable .npy file ({_first_line(error)}); make or fetch it again") from error
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise DataError(f"{path}: its header claims the impossible shape {shape!s:.60}; make or fetch it again")
    if dtype.subdtype is not None or dtype.itemsize == 0:  # NumPy writes neither
        raise DataError(
            f"{path}: its header claims values of the impossible type {dtype!s:.60}; make or fetch it again"
        )
    file.seek(offset)
    if not dtype.hasobject:
        claimed = dtype.itemsize
        for length in shape:  # Python integers: no overflow, whatever the header claims
            claimed *= length
        if offset + claimed != size:
            raise DataError(
                f"{path}: its header claims shape {shape!s:.60} of {dtype!s:.60}, which is not what the "
                f"{size - offset} bytes after it can hold; the file is truncated or damaged, make or fetch it again"
            )
    return NpyHeader(shape, dtype, fortran_order, offset)


def _claimed_length(beginning: bytes) -> int:
    """How long a header claims to be, from its first twelve bytes on."""
    if beginning[6:7] == b"\x01":  # the version
        return 10 + int.from_bytes(beginning[8:10], "little")
    return 12 + int.from_bytes(beginning[8:12], "little")


@lru_cache(maxsize=4096)  # recordings of the same length, such as clips, have the same
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran order, type, and length of a header."""
    file = io.BytesIO(header)
    version = npy_format.read_magic(file)
    reader = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    return *reader(file), file.tell()


def load_array(path: Path) -> np.ndarray:
    """Read an array of numbers or strings.

    Raises:
        DataError: missing, damaged, or an array of Python objects (which only `metadata.npy` is).
    """
    with _open(path) as file:
        header = read_npy_header(file, path.stat().st_size, path)
        if header.dtype.hasobject:
            raise DataError(f"{path} holds pickled Python objects where plain values are expected; fetch it again")
        data = file.read()
    array = np.frombuffer(data, dtype=header.dtype)
    return array.reshape(header.shape, order="F" if header.fortran_order else "C")


def load_metadata(path: Path) -> dict[str, list[str] | None]:
    """Read a `metadata.npy`: recording id → tags, or None where the tags could not be fetched.

    Raises:
        DataError: missing, damaged, not such a dict, or a pickle that holds anything but
            builtin values (its code is not run).
    """
    with _open(path) as file:
        size = path.stat().st_size
        header = read_npy_header(file, size, path)
        if not header.dtype.hasobject or header.shape != ():
            raise DataError(f"{path} holds an array of {header.dtype} instead of a dict of id → tags; fetch it again")
        if size > _MAX_METADATA_BYTES:
            raise DataError(f"{path} has {size} bytes, too many to be a corpus' metadata; fetch it again")
        data = file.read()
    try:
        check_pickle(data, allowed=_OPCODES)
        array = _MetadataUnpickler(io.BytesIO(data), encoding="latin1").load()
        content = array.content() if isinstance(array, _Array) else None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{path} cannot be read safely ({_first_line(error)}); fetch it again") from error
    return _checked_metadata(content, path)


def _checked_metadata(content: object, path: Path) -> dict[str, list[str] | None]:
    if not isinstance(content, dict):
        raise DataError(f"{path} does not hold a dict of id → tags; fetch it again")
    metadata: dict[str, list[str] | None] = {}
    for recording_id, tags in content.items():
        if not isinstance(recording_id, str):
            raise DataError(
                f"{path}: an id is a {type(recording_id).__name__} instead of a string; fetch the file again"
            )
        if tags is not None and not (isinstance(tags, (list, tuple)) and all(isinstance(tag, str) for tag in tags)):
            raise DataError(f"{path}: the tags of {recording_id!r:.60} are not a list of strings; fetch the file again")
        metadata[recording_id] = None if tags is None else list(tags)
    return metadata


class _MetadataUnpickler(pickle.Unpickler):
    """Knows five names, each bound to an inert stand-in below."""

    def find_class(self, module: str, name: str) -> object:
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
        return stand_in


class _Dtype:
    """Stands for numpy.dtype while unpickling: remembers the type string, builds nothing."""

    def __init__(self, kind: object, *_: object) -> None:
        if not isinstance(kind, str):  # text of something else could be of any length
            raise pickle.UnpicklingError("a dtype without a name")
        self.kind = kind

    def __setstate__(self, state: object) -> None:
        pass


class _Array:
    """Stands for numpy.ndarray while unpickling: keeps the object list it was pickled with."""

    def __init__(self, *_: object) -> None:
        self.values: object = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, _, values = state
        if not isinstance(dtype, _Dtype) or not isinstance(values, list):
            raise pickle.UnpicklingError("not an array of objects")
        if len(shape) > 1 or len(values) != (shape[0] if shape else 1):
            raise pickle.UnpicklingError("array shape and contents disagree")
        self.values = values[0] if shape == () else values

    def content(self) -> object:
        """The dict, with arrays of strings inside it turned into lists."""
        if isinstance(self.values, dict):
            return {key: value.values if isinstance(value, _Array) else value for key, value in self.values.items()}
        return self.values


class _Encoded(bytes):
    """Stands for _codecs.encode, by which Python 3 writes bytes for Python 2 (protocols 0 to 2)."""

    __slots__ = ()

    def __new__(cls, text: object, encoding: object) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("bytes in an unknown encoding")
        return text.encode("latin1")

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a state for bytes")


class _Scalar(str):
    """Stands for numpy's scalar constructor; only strings (np.str_) occur in tag metadata."""

    __slots__ = ()

    def __new__(cls, dtype: object, data: object) -> str:
        raw = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(dtype, _Dtype) or not dtype.kind.lstrip("<=|").startswith("U") or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("a NumPy scalar that is not a string")
        return raw.decode("utf-32-le").rstrip("\0")

    def __setstate__(self, state: object) -> None:
        # Without it a pickle could set attributes of this class, as of any callable it can name.
        raise pickle.UnpicklingError("a state for a NumPy scalar")


_STAND_INS = {
    ("_codecs", "encode"): _Encoded,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading; what is no ordinary file (a pipe, a device) is refused, not waited for.

    Raises:
        OSError: it cannot be opened.
        DataError: it is no ordinary file.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(f"{path} is no ordinary file; make or fetch it again")
    return file


def _open(path: Path) -> BinaryIO:
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; see the README for how to get this corpus' split files") from None
    except OSError as error:
        raise DataError(f"{path} cannot be opened ({error.strerror})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
