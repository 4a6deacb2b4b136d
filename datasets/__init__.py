"""The six corpora: labels, splits and mel-spectrogram access.

corpus = open_corpus("makam")             # labels of the three splits, no spectrogram touched
recordings = open_recordings(corpus.train)  # headers of its spectrograms read and checked
recordings.read(0, start=100, count=230)    # (230, 128) float32 dB, read from disk as a slice
"""

from runtime.interrupts import tell_of_interrupted_imports

tell_of_interrupted_imports()  # before the next lines: they import NumPy

from datasets.corpus import Corpus, Split, open_corpus  # noqa: E402
from datasets.recordings import Recordings, data_fingerprint, open_recordings  # noqa: E402

__all__ = ["Corpus", "Recordings", "Split", "data_fingerprint", "open_corpus", "open_recordings"]
