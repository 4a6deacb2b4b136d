"""Every number of the study: corpora, spectrograms, models and training settings.

`MODELS_CONFIG[dataset][model_name]` holds the settings of each of the 198 runs. The transfer
names are derived from the three models and the six corpora, so adding one of either here is
all it takes for its runs to exist.

Sources: the study is Papaioannou et al., ISMIR 2023 (arXiv 2307.09795); the optimisers, batch
sizes and epochs are those of its experiments.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from runtime.errors import UsageError

ROOT = Path(__file__).resolve().parent
DATA_DIR = ROOT / "data"
MODELS_DIR = ROOT / "saved_models"
EVALUATION_DIR = ROOT / "evaluation"


@dataclass(frozen=True)
class SpectrogramConfig:
    """How a mel-spectrogram is computed from audio (one setting for the whole study)."""

    sample_rate: int = 16_000  # Hz
    n_fft: int = 512  # samples, also the length of the periodic Hann window
    hop_length: int = 256  # samples
    n_mels: int = 128
    f_min: float = 0.0  # Hz
    f_max: float = 8_000.0  # Hz
    floor_db: float = -100.0  # 10·log10(1e-10): digital silence, and what short recordings are padded with

    @property
    def frames_per_second(self) -> float:
        return self.sample_rate / self.hop_length

    def frames(self, seconds: float) -> int:
        """Number of whole frames in `seconds`."""
        return int(seconds * self.frames_per_second)


SPECTROGRAM = SpectrogramConfig()


@dataclass(frozen=True)
class DatasetConfig:
    """A corpus: how its labels are laid out, and what of each recording is used."""

    name: str
    title: str
    layout: str  # which reader of datasets/ reads its split and label files
    n_tags: int  # size of the tag vocabulary
    epochs: Mapping[str, int]  # by model
    max_seconds: int | None = None  # only the beginning of longer recordings is used
    has_audio: bool = True  # False: spectrograms are distributed, audio is not


def _epochs(musicnn: int, vgg_ish: int, ast: int) -> Mapping[str, int]:
    return MappingProxyType({"musicnn": musicnn, "vgg_ish": vgg_ish, "ast": ast})


DATASETS: Mapping[str, DatasetConfig] = MappingProxyType(
    {
        dataset.name: dataset
        for dataset in (
            DatasetConfig("magnatagatune", "MagnaTagATune", "magnatagatune", 50, _epochs(50, 200, 50)),
            DatasetConfig("fma", "FMA-medium", "metadata", 20, _epochs(50, 100, 50)),
            DatasetConfig("lyra", "Lyra", "lyra", 30, _epochs(200, 200, 50), has_audio=False),
            DatasetConfig("makam", "Turkish-makam", "metadata", 30, _epochs(200, 200, 70), max_seconds=150),
            DatasetConfig("hindustani", "Hindustani", "metadata", 20, _epochs(200, 200, 50), max_seconds=780),
            DatasetConfig("carnatic", "Carnatic", "metadata", 20, _epochs(200, 200, 70), max_seconds=330),
        )
    }
)


@dataclass(frozen=True)
class ModelConfig:
    """A model: its input, its final layer and how the study trains it."""

    name: str
    input_seconds: float
    final_layer: str  # name of the layer replaced in a transfer, as in the state dict
    batch_size: int
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    schedule: str  # the published schedule of training/schedules.py: "cnn" or "ast"

    @property
    def input_frames(self) -> int:
        return SPECTROGRAM.frames(self.input_seconds)


MODELS: Mapping[str, ModelConfig] = MappingProxyType(
    {
        model.name: model
        for model in (
            ModelConfig("vgg_ish", 3.69, "dense2", 16, 1e-4, 1e-4, (0.9, 0.999), "cnn"),
            ModelConfig("musicnn", 3.0, "dense2", 16, 1e-4, 1e-4, (0.9, 0.999), "cnn"),
            ModelConfig("ast", 8.0, "mlp_head.1", 12, 1e-5, 5e-7, (0.95, 0.999), "ast"),
        )
    }
)


@dataclass(frozen=True)
class RunName:
    """A run's name taken apart: `<model>`, `<model>_from_<source>` or `<model>_from_<source>_f`.

    `source` is the corpus whose trained model the run starts from (None: from scratch);
    `final_layer_only` is true where only the final layer is trained.
    """

    model: str
    source: str | None = None
    final_layer_only: bool = False

    def __str__(self) -> str:
        if self.source is None:
            return self.model
        return f"{self.model}_from_{self.source}{'_f' if self.final_layer_only else ''}"


@dataclass(frozen=True)
class RunConfig:
    """The settings of one run: a model, trained on a corpus, perhaps from another corpus' model."""

    dataset: DatasetConfig
    model: ModelConfig
    name: RunName
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str = "published"  # or "constant"
    patience: int | None = None  # epochs without a better validation loss before stopping; None: never
    validation_chunks: int = 4  # evenly spaced chunks of each validation recording, the same in every epoch


def _runs_on(target: str) -> Mapping[str, RunConfig]:
    names = [RunName(model) for model in MODELS]
    names += [
        RunName(model, source, final_layer_only)
        for model in MODELS
        for source in DATASETS
        if source != target
        for final_layer_only in (False, True)
    ]
    return MappingProxyType({str(name): _run_config(target, name) for name in names})


def _run_config(target: str, name: RunName) -> RunConfig:
    dataset, model = DATASETS[target], MODELS[name.model]
    return RunConfig(
        dataset=dataset,
        model=model,
        name=name,
        epochs=dataset.epochs[model.name],
        batch_size=model.batch_size,
        learning_rate=model.learning_rate,
    )


MODELS_CONFIG: Mapping[str, Mapping[str, RunConfig]] = MappingProxyType(
    {dataset: _runs_on(dataset) for dataset in DATASETS}
)


def _nearest(word: str, choices: list[str], most: int = 3) -> str:
    return ", ".join(difflib.get_close_matches(word, choices, n=most, cutoff=0.0))


def dataset_config(dataset: str) -> DatasetConfig:
    """The corpus called `dataset`.

    Raises:
        UsageError: there is no such corpus; names the nearest ones.
    """
    if dataset not in DATASETS:
        raise UsageError(f"unknown dataset '{dataset}'; the nearest names are {_nearest(dataset, list(DATASETS))}")
    return DATASETS[dataset]


def run_config(dataset: str, model_name: str) -> RunConfig:
    """The settings of the run `model_name` on `dataset`.

    Raises:
        UsageError: there is no such corpus or run; says which part of the name is wrong and
            names the nearest valid ones.
    """
    dataset_config(dataset)
    runs = MODELS_CONFIG[dataset]
    if model_name in runs:
        return runs[model_name]
    model, _, source = model_name.partition("_from_")
    source = source.removesuffix("_f")
    if model not in MODELS:
        problem = f"unknown model '{model}' in '{model_name}'"
    elif source == dataset:
        problem = f"'{model_name}' starts from {dataset} itself; the source must be another corpus"
    else:
        problem = f"unknown source '{source}' in '{model_name}'"
    raise UsageError(f"{problem}; the nearest names are {_nearest(model_name, list(runs))}")


def parse_model_name(dataset: str, model_name: str) -> RunName:
    """Take a run's name apart, having checked it.

    Raises:
        UsageError: see `run_config`.
    """
    return run_config(dataset, model_name).name


def checkpoint_path(models_dir: Path, dataset: str, model_name: str) -> Path:
    """Where the trained weights of a run are kept: `{models_dir}/{dataset}/{model_name}.pth`."""
    return models_dir / dataset / f"{model_name}.pth"


def training_state_path(checkpoint: Path) -> Path:
    """Where the state of the unfinished training that will make `checkpoint` is kept."""
    return checkpoint.with_suffix(".resume")
