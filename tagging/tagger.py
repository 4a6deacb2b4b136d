"""Trained models ready for use, and the one pass over a recording that feeds any number of them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from config import DATASETS, SPECTROGRAM
from evaluation.scoring import pool_chunks, sigmoid
from models import TaggingModel
from models.checkpoints import Checkpoint, load_checkpoint, restore_model
from models.weights import network_weights, recognise_weights
from runtime.devices import Precision, resolve_device, resolve_precision
from runtime.errors import CheckpointError, UsageError
from tagging.chunks import Chunker, hop_frames
from tagging.results import Analysis
from tagging.sources import Source, max_frames, mel_blocks, read_ahead

BATCH_SIZES = {"cpu": 2}  # chunks a batch by device; on a CPU the layers' outputs should stay in its caches
BATCH_SIZE = 64  # on any other device


class Tagger:
    """A trained model with its tags. Safe to use from several threads.

    Attributes:
        label: "corpus/model_name".
        dataset: the corpus it was trained on.
        tags: names of its tags, in the order of the scores.
        sha256: of the checkpoint's file.
        study_seconds: how much of a recording's beginning the study uses in this corpus; None: all.
    """

    def __init__(
        self, model: TaggingModel, tags: Sequence[str], *, dataset: str, model_name: str, sha256: str = "",
        device: torch.device | None = None, precision: Precision | None = None, batch_size: int | None = None,
    ) -> None:  # fmt: skip
        """For a network at hand; `Tagger.load` makes one from a checkpoint.

        Args:
            model: the network; it is moved to `device`, put in evaluation mode and kept.
            tags: names of its outputs.
            dataset: the corpus it was trained on.
            model_name: the run's name.
            sha256: of the checkpoint.
            device: where to compute (None: the CPU).
            precision: of the forward pass (None: float32).
            batch_size: chunks that go through the model at once (None: 2 on a CPU, else 64).
        """
        self.device = device or torch.device("cpu")
        self.precision = precision or resolve_precision("float32", self.device)
        self.model = model.to(self.device).eval()
        self.tags, self.dataset, self.model_name, self.sha256 = tuple(tags), dataset, model_name, sha256
        self.batch_size = batch_size or BATCH_SIZES.get(self.device.type, BATCH_SIZE)
        self._lock = threading.Lock()  # Musicnn's forward pass exchanges parameters for a moment

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        precision: str = "float32",
        batch_size: int | None = None,
        tags: Sequence[str] | None = None,
        musicnn_layout: str | None = None,
        normalisation: tuple[float, float] | None = None,
    ) -> Tagger:
        """Load a checkpoint of this project, or a bare state dict.

        Args:
            path: `saved_models/{dataset}/{model_name}.pth`, or a `.safetensors` file of `export.py`.
            device: auto, cpu, cuda:N or mps.
            precision: auto, float32 or bfloat16. Only float32 gives the scores to five decimals.
            batch_size: chunks that go through the model at once (None: 2 on a CPU, else 64).
            tags: for a bare state dict, which does not name its outputs.
            musicnn_layout: for a bare state dict of Musicnn, "paper" (if None) or "published".
            normalisation: for a bare state dict of AST, mean and standard deviation in dB.

        Raises:
            CheckpointError: missing, damaged, or a bare state dict without what it lacks.
            UsageError: no such device, or the options contradict the checkpoint.
        """
        target = resolve_device(device)
        return cls.from_checkpoint(
            read_checkpoint(Path(path)),
            device=target,
            precision=resolve_precision(precision, target),
            batch_size=batch_size,
            tags=tags,
            musicnn_layout=musicnn_layout,
            normalisation=normalisation,
        )

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        device: torch.device | None = None,
        precision: Precision | None = None,
        batch_size: int | None = None,
        tags: Sequence[str] | None = None,
        musicnn_layout: str | None = None,
        normalisation: tuple[float, float] | None = None,
    ) -> Tagger:
        """See `load`."""
        model, tags = restore(checkpoint, tags, musicnn_layout, normalisation)
        info, path = checkpoint.info, checkpoint.path
        return cls(
            model,
            tags,
            dataset=path.resolve().parent.name if info is None else info.dataset,
            model_name=path.stem if info is None else info.model_name,
            sha256=checkpoint.sha256,
            device=device,
            precision=precision,
            batch_size=batch_size,
        )

    @property
    def label(self) -> str:
        return f"{self.dataset}/{self.model_name}"

    @property
    def study_seconds(self) -> int | None:
        return DATASETS[self.dataset].max_seconds if self.dataset in DATASETS else None

    def tag(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        overlap: float = 0.0,
        max_seconds: float | None = None,
        as_in_study: bool = False,
    ) -> Analysis:
        """Tag a recording: scores over all (`.scores`, `.top()`) and for each chunk (`.chunk_scores`).

        The recording is cut into chunks of the model's input length, the rest is dropped, and
        the chunks are averaged as in `evaluate.py`. See `analyse` for the arguments and errors.
        """
        return analyse([self], source, sample_rate, overlap=overlap, max_seconds=max_seconds, as_in_study=as_in_study)[
            0
        ]

    def embed(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        per_chunk: bool = False,
        overlap: float = 0.0,
        max_seconds: float | None = None,
    ) -> np.ndarray:
        """Activations of the penultimate layer: 512 of VGG-ish, 200 of Musicnn, 768 of AST.

        See `analyse` for the arguments and errors.

        Returns:
            float32 (embedding_size,), the mean over the chunks, or with `per_chunk` (chunks, embedding_size).
        """
        analysis = self.tag(source, sample_rate, overlap=overlap, max_seconds=max_seconds)
        return analysis.embeddings if per_chunk else analysis.embedding

    def run(self, chunks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The forward pass.

        Args:
            chunks: float32 (batch, input_frames, 128) in dB.

        Returns:
            Logits (batch, tags) and embeddings (batch, embedding_size), both float32.
        """
        with self._lock, torch.inference_mode(), self.precision.autocast():
            embedding = self.model.embed(torch.from_numpy(chunks).to(self.device))
            logits = self.model.classify(embedding)
            return _numpy(logits), _numpy(embedding)


def analyse(
    taggers: Sequence[Tagger],
    source: Source,
    sample_rate: float | None = None,
    *,
    overlap: float = 0.0,
    max_seconds: float | None = None,
    as_in_study: bool = False,
) -> list[Analysis]:
    """One recording through several models, decoded once.

    Decoding runs ahead in a thread; memory does not grow with the recording, but for the few
    numbers kept of each chunk.

    Args:
        taggers: the models.
        source: path of an audio file or of a mel-spectrogram (`.npy`), or a waveform, float
            (samples,) or (channels, samples).
        sample_rate: of a waveform, in Hz.
        overlap: the part of a chunk that the next one shares, from 0 to 0.95. `evaluate.py` has 0.
        max_seconds: use only the beginning; None: all.
        as_in_study: use what the study uses of each model's corpus (makam 150 s, hindustani
            780 s, carnatic 330 s, others all), so that the scores are `evaluate.py`'s.

    Returns:
        One analysis for each tagger.

    Raises:
        DataError: the source cannot be read (AudioError: decoded).
        UsageError: bad arguments.
    """
    if max_seconds is not None and not max_seconds > 0:
        raise UsageError(f"the maximum length must be above 0 seconds, not {max_seconds}")
    limits = [_limit(max_seconds, tagger.study_seconds if as_in_study else None) for tagger in taggers]
    passes = [_Pass(tagger, overlap, max_frames(limit)) for tagger, limit in zip(taggers, limits, strict=True)]
    longest = None if None in limits else max(limits, default=None)
    with closing(read_ahead(mel_blocks(source, sample_rate, longest))) as blocks:
        for block in blocks:
            for one in passes:
                one.feed(block)
    return [one.finish() for one in passes]


class _Rows:
    """Rows of an array that grows.

    Not a list of small arrays: kept among the network's large ones, which come and go, they would
    break the memory into pieces and let the process grow by hundreds of megabytes.
    """

    def __init__(self, width: int) -> None:
        self._values = np.empty((1024, width), np.float32)
        self._count = 0

    def extend(self, rows: np.ndarray) -> None:
        end = self._count + len(rows)
        if end > len(self._values):
            larger = np.empty((2 * end, self._values.shape[1]), np.float32)
            larger[: self._count] = self._values[: self._count]
            self._values = larger
        self._values[self._count : end] = rows
        self._count = end

    def all(self) -> np.ndarray:
        return self._values[: self._count].copy()


class _Pass:
    """One recording on its way through one model."""

    def __init__(self, tagger: Tagger, overlap: float, most_frames: int | None) -> None:
        frames = tagger.model.input_frames
        self.tagger = tagger
        self.chunker = Chunker(frames, hop_frames(frames, overlap), tagger.batch_size, most_frames)
        self.logits = _Rows(len(tagger.tags))
        self.embeddings = _Rows(tagger.model.embedding_size)

    def feed(self, block: np.ndarray) -> None:
        if not self.chunker.is_full:
            for batch in self.chunker.feed(block):
                self._run(batch)

    def finish(self) -> Analysis:
        for batch in self.chunker.finish():
            self._run(batch)
        logits = self.logits.all()
        rate = SPECTROGRAM.frames_per_second
        hop = self.chunker.hop / rate
        return Analysis(
            label=self.tagger.label,
            dataset=self.tagger.dataset,
            tags=self.tagger.tags,
            scores=pool_chunks(self.tagger.model.pooling, np.zeros(len(logits), np.int64), logits)[0],
            chunk_scores=sigmoid(logits),
            embeddings=self.embeddings.all(),
            starts=np.arange(len(logits)) * hop,
            chunk_seconds=self.chunker.chunk_frames / rate,
            hop_seconds=hop,
            seconds=self.chunker.seen / rate,
        )

    def _run(self, batch: np.ndarray) -> None:
        logits, embeddings = self.tagger.run(batch)
        self.logits.extend(logits)
        self.embeddings.extend(embeddings)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, whichever of the two formats it is in; see `Tagger.load`."""
    if path.suffix == ".safetensors":
        from tagging.exporting import read_safetensors

        return read_safetensors(path)
    return load_checkpoint(path)


def restore(
    checkpoint: Checkpoint,
    tags: Sequence[str] | None = None,
    musicnn_layout: str | None = None,
    normalisation: tuple[float, float] | None = None,
    *,
    plain: bool = False,
) -> tuple[TaggingModel, tuple[str, ...]]:
    """The network of a checkpoint, whichever model it is, and its tags; see `Tagger.load`.

    `plain` is that of `models.build_model`.
    """
    info, path = checkpoint.info, checkpoint.path
    found = recognise_weights(network_weights(checkpoint.state_dict, str(path)))
    name = found.model if info is None else info.model
    if name is None or found.n_tags is None:
        raise CheckpointError(f"{path} holds no weights of vgg_ish, musicnn or ast")
    if info is None and tags is None:
        raise CheckpointError(
            f"{path} is a bare state dict, which does not name its {found.n_tags} tags; give them (--tags FILE, one a "
            "line)"
        )
    if info is not None and tags is not None and tuple(tags) != info.tags:
        raise UsageError(f"{path} names its own tags; leave --tags out")
    tags = tuple(tags) if info is None else info.tags
    if info is None and len(tags) != found.n_tags:
        raise CheckpointError(f"{path} has {found.n_tags} outputs, but {len(tags)} tags are given")
    form = {"plain": True} if plain else {}
    model = restore_model(checkpoint, name, len(tags), musicnn_layout=musicnn_layout, **form)
    if model.needs_normalisation and (info is None or info.normalisation is None):
        if normalisation is None:
            raise CheckpointError(
                f"{path} does not carry AST's input normalisation; give it (--ast_normalisation MEAN STD, in dB)"
            )
        model.set_normalisation(*normalisation)
    return model, tags


def _limit(max_seconds: float | None, study_seconds: float | None) -> float | None:
    given = [limit for limit in (max_seconds, study_seconds) if limit is not None]
    return min(given, default=None)


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
