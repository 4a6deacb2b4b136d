"""Model card: what a model was trained on, how well it does and what it cannot do.

After Mitchell et al. 2019, Model cards for model reporting (arXiv 1810.03993).
"""

from __future__ import annotations

from collections.abc import Sequence

from config import DATASETS, MODELS
from evaluation.reports import Report
from models import TaggingModel
from models.checkpoints import Checkpoint
from tagging.exporting import has_free_length, info_of
from tagging.results import split_tag

ARCHITECTURES = {
    "vgg_ish": "VGG-ish, the short-chunk CNN of Won et al. 2020 (arXiv 2006.00751)",
    "musicnn": "Musicnn, Pons et al. 2018 (arXiv 1711.02520), in the form of Won et al. 2020 (arXiv 2006.00751)",
    "ast": "AST, the audio spectrogram transformer of Gong et al. 2021 (arXiv 2104.01778)",
}
STUDY = (
    "After the study of Papaioannou, Benetos and Potamianos, *From West to East: Who can understand the music of the "
    "others better?* (ISMIR 2023, arXiv 2307.09795)."
)
LIMITS = (  # of every model
    "Only the tags above are known, the most frequent of the corpus; what else a recording has is not told.",
    "The tags are metadata or annotators' choices; one that is absent may just not have been written down.",
    "Scores are not calibrated probabilities, and rare tags score low even where they are right: compare recordings.",
    "The corpus' audio and annotations have terms of their own, which may bear on the use of the weights.",
)


def model_card(checkpoint: Checkpoint, model: TaggingModel, report: Report | None, files: Sequence[str]) -> str:
    """The card as Markdown.

    Args:
        checkpoint: of this project.
        model: its network.
        report: its evaluation on the test set; None: not evaluated.
        files: names of the exported files.

    Raises:
        CheckpointError: a bare state dict.
    """
    info = info_of(checkpoint)
    corpus = DATASETS[info.dataset].title if info.dataset in DATASETS else info.dataset
    sections = [
        [
            f"# {info.model_name} trained on {corpus}",
            f"Tags recordings of music with {len(info.tags)} tags of {corpus}. {STUDY}",
        ],
        ["## Model", _model_list(checkpoint, model, files)],
        ["## Input and output", _usage(model)],
        ["## Training", _training_list(checkpoint)],
        ["## Results on the test set", *_results(report, checkpoint)],
        ["## Tags", _tag_table(checkpoint, report)],
        ["## Limits", _limits(corpus, report)],
    ]
    return "\n\n".join("\n\n".join(section) for section in sections) + "\n"


def _model_list(checkpoint: Checkpoint, model: TaggingModel, files: Sequence[str]) -> str:
    settings = "".join(f", {name} {value}" for name, value in model.settings.items())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return "\n".join(
        [
            f"- Architecture: {ARCHITECTURES[model.name]}{settings}",
            f"- Parameters: {parameters:,}",
            f"- Files: {', '.join(f'`{name}`' for name in files)}",
            f"- SHA-256 of the checkpoint they were made from: `{checkpoint.sha256}`",
        ]
    )


def _usage(model: TaggingModel) -> str:
    frames = model.input_frames
    length = (
        f"any number of frames from {model.min_frames} on" if has_free_length(model) else "no other number of frames"
    )
    pooling = "average the scores" if model.pooling == "scores" else "average the logits and apply the sigmoid"
    seconds = MODELS[model.name].input_seconds
    return (
        f"Input: mel-spectrogram chunks in decibels, float32 (batch, {frames} frames, 128); {frames} frames are "
        f"{seconds:g} s; the ONNX file takes {length}. The spectrogram: mono, 16 kHz, STFT of 512 samples (periodic "
        "Hann, centred, reflected) every 256, power, 128 HTK mel bands from 0 to 8000 Hz without area normalisation, "
        "10·log10(max(x, 1e-10)).\n\n"
        f"Output: `scores` (batch, tags) in [0, 1], `logits` before the sigmoid, and `embedding` (batch, "
        f"{model.embedding_size}), the input of the final layer. For a whole recording {pooling} of consecutive "
        "chunks. The safetensors file holds the weights by layer name; this project's `Tagger.load` reads it."
    )


def _training_list(checkpoint: Checkpoint) -> str:
    info = info_of(checkpoint)
    identity = info.training["identity"]
    lines = [f"- {name.replace('_', ' ')}: {_figure(value)}" for name, value in identity.items() if value is not None]
    lines.append(f"- epoch of the weights (lowest validation loss): {info.epoch} of {info.training['epochs']}")
    lines += [f"- {name.replace('_', ' ')} of that epoch: {_figure(value)}" for name, value in info.metrics.items()]
    if info.source is not None:
        lines.append(f"- started from: {info.source['model_name']} on {info.source['dataset']}")
    if info.normalisation is not None:
        mean, std = info.normalisation["mean"], info.normalisation["std"]
        lines.append(f"- input normalisation: mean {mean:.4f} dB, standard deviation {std:.4f} dB")
    software = ", ".join(
        f"{name} {info.versions[name]}" for name in ("python", "torch", "timm") if name in info.versions
    )
    lines.append(f"- software: {software}")
    return "\n".join(lines)


def _results(report: Report | None, checkpoint: Checkpoint) -> list[str]:
    if report is None:
        return ["Not evaluated: there was no result of `evaluate.py` for this checkpoint when it was exported."]
    metrics = report.metrics
    areas = f"Macro ROC-AUC {_figure(metrics.roc_auc)}, macro PR-AUC {_figure(metrics.pr_auc)}"
    results = [f"{areas} over {metrics.n_recordings} recordings."]
    if metrics.exclusion_note:
        results.append(metrics.exclusion_note)
    return results


def _tag_table(checkpoint: Checkpoint, report: Report | None) -> str:
    info = info_of(checkpoint)
    rows = {} if report is None else {row.tag: row for row in report.metrics.per_tag}
    lines = ["| output | family | tag | test recordings | ROC-AUC | PR-AUC |", "|---|---|---|---|---|---|"]
    for i, tag in enumerate(info.tags):
        family, name = (text.replace("|", "\\|") for text in split_tag(tag, info.dataset))
        row = rows.get(tag)
        found = ("", "", "") if row is None else (row.support, _figure(row.roc_auc), _figure(row.pr_auc))
        lines.append(f"| {i} | {family} | {name} | {' | '.join(map(str, found))} |")
    return "\n".join(lines)


def _limits(corpus: str, report: Report | None) -> str:
    limits = [
        f"Trained on {corpus} alone: for other repertoires, recordings or instruments the scores may mean nothing.",
        *LIMITS,
    ]
    if report is None:
        limits.insert(0, "How well it does has not been measured.")
    return "\n".join(f"- {limit}" for limit in limits)


def _figure(value: object) -> str:
    if isinstance(value, float):
        return "not defined" if value != value else f"{value:.4g}"
    return "none" if value is None else str(value)
