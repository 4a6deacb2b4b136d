"""Fixtures: tiny corpora, and the published files where they are at hand."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from runtime.signals import STOP_SIGNALS
from tests.corpora import make_corpus

if not torch.cuda.is_available():  # Triton, which is imported later, then runs its kernels step by step on the CPU
    os.environ["TRITON_INTERPRET"] = "1"

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side; results must not depend on how many threads are left."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A script run within this process leaves its handlers behind, as it is about to exit."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _tf32_as_before() -> Iterator[None]:
    """Whoever computes in float32 on a GPU switches it off for the process."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    yield
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.fixture
def corpus_dir(tmp_path: Path) -> Path:
    """A tiny corpus in the layout of the CompMusic corpora and FMA."""
    return make_corpus(tmp_path / "corpus")


@pytest.fixture(scope="session")
def published_splits() -> Path:
    """The published split and label files."""
    if not (SHARED / "splits").is_dir():
        pytest.skip("the published split files are not beside this repository (../shared/splits)")
    return SHARED / "splits"


@pytest.fixture(scope="session")
def published_figures() -> Path:
    """The published tag vocabularies and results."""
    if not (SHARED / "published").is_dir():
        pytest.skip("the published figures are not beside this repository (../shared/published)")
    return SHARED / "published"
