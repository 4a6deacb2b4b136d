"""What `study.yaml` says, checked: corpora, models, seeds, and how runs are trained."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from config import DATASETS, MODELS
from datasets.demo.corpus import MARKER
from runtime.errors import UsageError, listed
from study.comparisons import RESAMPLES


@dataclass(frozen=True)
class StudySettings:
    """A study's configuration; see the comments of `study.yaml` for each field."""

    corpora: Mapping[str, Path]  # directory of each, in the order of config.py
    models: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    epochs: int | Mapping[str, int] | None = None  # None: the study's; or one number; or by model
    train_options: Mapping[str, str] = None  # type: ignore[assignment]  # by model, as typed to train.py
    device: str = "auto"
    precision: str = "auto"
    gpus_per_run: int | None = None  # None: 1 where this machine has a card, else 0
    threads: int = 2
    num_workers: int = 4
    skip_missing: bool = False
    resamples: int = RESAMPLES
    models_dir: Path = Path("saved_models")
    evaluation_dir: Path = Path("evaluation")
    results_dir: Path = Path("results")
    demo: Mapping[str, Any] | None = None  # make SYNTHETIC corpora: options of datasets.demo

    @property
    def synthetic(self) -> bool:
        """Whether any corpus is, or will be, a demo corpus."""
        return self.demo is not None or any((path / MARKER).is_file() for path in self.corpora.values())

    def training_options(self, model: str) -> str:
        """Options of `train.py` that decide the result, beside the run and its seed."""
        epochs = self.epochs.get(model) if isinstance(self.epochs, Mapping) else self.epochs
        given = ["--epochs", str(epochs)] if epochs else []
        return shlex.join([*given, "--precision", self.precision, *shlex.split(self.train_options.get(model, ""))])


def study_settings(config: Mapping[str, Any]) -> StudySettings:
    """Check the configuration as Snakemake hands it over.

    Raises:
        UsageError: an unknown key, corpus or model, or a value of the wrong kind.
    """
    known = {field.name for field in fields(StudySettings)}
    unknown = sorted(set(config) - known)
    if unknown:
        raise UsageError(f"study configuration: unknown {listed(unknown)}; the keys are {', '.join(sorted(known))}")
    corpora = _mapping(config, "corpora")
    _check_names("corpora", corpora, DATASETS)
    models = config.get("models") or []
    if not isinstance(models, list):
        raise UsageError("study configuration: models must be a list, as in [musicnn, ast]")
    _check_names("models", models, MODELS)
    for key in ("epochs", "train_options"):
        if isinstance(config.get(key), Mapping):
            _check_names(key, config[key], MODELS, may_be_empty=True)
    values = {key: value for key, value in config.items() if value is not None}
    values["corpora"] = {name: Path(str(corpora[name])) for name in DATASETS if name in corpora}
    values["models"] = tuple(name for name in MODELS if name in models)
    values["seeds"] = _seeds(config.get("seeds", [0]))
    values["train_options"] = {name: str(text) for name, text in _mapping(config, "train_options").items()}
    values |= {key: Path(str(values[key])) for key in ("models_dir", "evaluation_dir", "results_dir") if key in values}
    if values.get("gpus_per_run") == "auto":
        del values["gpus_per_run"]
    for key in ("threads", "num_workers", "resamples", "gpus_per_run"):
        least = 0 if key in ("num_workers", "gpus_per_run") else 1
        if key in values and not (_is_whole(values[key]) and values[key] >= least):
            raise UsageError(f"study configuration: {key} must be a whole number of at least {least}")
    epochs = values.get("epochs")
    for number in epochs.values() if isinstance(epochs, Mapping) else [epochs]:
        if number is not None and not (_is_whole(number) and number >= 1):
            raise UsageError("study configuration: epochs must be a whole number, or one for each model")
    if "demo" in values:
        values["demo"] = dict(_mapping(config, "demo"))
    return StudySettings(**values)


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise UsageError(f"study configuration: {key} must be given as `name: value` lines")
    return value


def _check_names(key: str, names: Any, known: Mapping[str, Any], *, may_be_empty: bool = False) -> None:
    unknown = sorted(str(name) for name in names if name not in known)
    if unknown or not (names or may_be_empty):
        what = f"has unknown {listed(unknown)}" if unknown else "is empty"
        raise UsageError(f"study configuration: {key} {what}; choose from {', '.join(known)}")


def _seeds(value: Any) -> tuple[int, ...]:
    seeds = value if isinstance(value, list) else [value]
    if not seeds or not all(_is_whole(seed) and 0 <= seed < 2**63 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise UsageError("study configuration: seeds must be different whole numbers from 0 on, as in [0, 1, 2]")
    return tuple(seeds)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
