"""Use trained models: tags and embeddings of any recording.

    from tagging import Tagger, analyse

    tagger = Tagger.load("saved_models/makam/ast.pth")
    tagger.tag("song.mp3").top(5)  # the five best tags with their scores
    tagger.embed("song.mp3")  # (768,) float32

A source is the path of an audio file, the path of a mel-spectrogram (`.npy`), or a waveform (tensor or
array) with its sample rate: `tagger.tag(waveform, 44_100)`. Several models share one decode:
`analyse([tagger, another], "song.mp3")`. A tagger may be used by several threads at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagging.results import Analysis
    from tagging.tagger import Tagger, analyse

__all__ = ["Analysis", "Tagger", "analyse"]


def __getattr__(name: str) -> Any:  # PyTorch takes seconds to import; the scripts look at their arguments first
    if name not in __all__:
        raise AttributeError(f"module 'tagging' has no attribute '{name}'")
    from tagging import results, tagger

    return getattr(results if name == "Analysis" else tagger, name)
