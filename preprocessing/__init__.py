"""Getting the corpora: splits, labels, audio and mel-spectrograms."""
