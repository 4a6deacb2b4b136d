"""The plain way from audio to mel-spectrograms: one file after another, with librosa and torchaudio.

The baseline of `bench_preprocessing.py`; prints the seconds from the first file to the last.

python benchmarks/preprocessing_baseline.py AUDIO_DIRECTORY OUTPUT_DIRECTORY
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import librosa
import numpy as np
import torch
import torchaudio


def main(audio_directory: Path, output_directory: Path) -> None:
    """Make the mel-spectrogram of every mp3 in `audio_directory`."""
    mel = torchaudio.transforms.MelSpectrogram(sample_rate=16000, n_fft=512, f_min=0, f_max=8000, n_mels=128)
    to_decibels = torchaudio.transforms.AmplitudeToDB()
    start = time.perf_counter()
    for path in sorted(audio_directory.glob("*.mp3")):
        samples, _ = librosa.load(path, sr=16000, mono=True)
        spectrogram = to_decibels(mel(torch.from_numpy(samples)))
        np.save(output_directory / f"{path.stem}.npy", spectrogram.numpy())
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
