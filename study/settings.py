"""What `study.yaml` says, checked: corpora, models, seeds, and how runs are trained."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from config import DATASETS, MODELS, run_config
from datasets.demo.marker import MARKER
from runtime.errors import UsageError, listed
from study.comparisons import RESAMPLES
from train import parse_arguments

# Options of train.py that `train_options` must not change: the run itself, and what has a line of its own.
_SET_BY_THE_STUDY = (
    *("dataset", "model_name", "data_dir", "models_dir", "seed", "device", "precision"),
    *("num_workers", "skip_missing", "restart"),
)
_DEMO_OPTIONS = {"recordings": int, "seconds": (int, float), "seed": int}  # of datasets.demo


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

    def reason_against(self, target: str) -> str | None:
        """Why a target of the command line cannot be made; None where nothing speaks against it."""
        names = (*self.corpora, *self.models)
        if target in (*DATASETS, *MODELS) and target not in names:
            return f"{target} is not in the configuration, which has {', '.join(names)}"
        if itself := re.search(r"/(\w+)/(\w+_from_\1(_f)?)\.\w+$", target):
            return f"{itself[2]} on {itself[1]} starts from the corpus itself; choose another source"
        directory = next(
            (path for path in (self.evaluation_dir, self.models_dir) if Path(target).is_relative_to(path)), None
        )
        parts = Path(target).relative_to(directory).parts if directory else ()
        if parts and re.fullmatch(r"seed_\d+", parts[0]):
            parts = parts[1:]
        if len(parts) != 2 or not parts[1].endswith((".json", ".csv", ".txt", ".pth")):
            return None
        try:
            name = run_config(parts[0], parts[1].partition(".")[0]).name
        except UsageError as error:
            return f"{target}: {error}"
        left_out = [of for of in (parts[0], name.model, name.source) if of and of not in names]
        return (
            f"{target}: {left_out[0]} is not in the configuration, which has {', '.join(names)}" if left_out else None
        )


def study_settings(config: Mapping[str, Any]) -> StudySettings:
    """Check the configuration as Snakemake hands it over.

    Raises:
        UsageError: an unknown key, corpus or model, or a value of the wrong kind.
    """
    known = {field.name for field in fields(StudySettings)}
    unknown = sorted(str(key) for key in config if key not in known)
    if unknown:
        raise UsageError(f"study configuration: unknown {listed(unknown)}; the keys are {', '.join(sorted(known))}")
    corpora = _mapping(config, "corpora")
    _check_names("corpora", corpora, DATASETS)
    models = config.get("models") or []
    if not (isinstance(models, list) and all(isinstance(name, str) for name in models)):
        raise UsageError("study configuration: models must be a list, as in [musicnn, ast]")
    _check_names("models", models, MODELS)
    for key in ("epochs", "train_options"):
        if isinstance(config.get(key), Mapping):
            _check_names(key, config[key], MODELS, may_be_empty=True)
    values = {key: value for key, value in config.items() if value is not None}
    values["corpora"] = _directories({name: corpora[name] for name in DATASETS if name in corpora})
    values["models"] = tuple(name for name in MODELS if name in models)
    values["seeds"] = _seeds(config.get("seeds", [0]))
    values["train_options"] = {
        name: _train_options(name, text) for name, text in _mapping(config, "train_options").items() if text is not None
    }
    values |= {key: _path(key, values[key]) for key in ("models_dir", "evaluation_dir", "results_dir") if key in values}
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(values.get("device", "auto")), re.ASCII):
        raise UsageError(f"study configuration: unknown device '{values['device']}'; choose auto, cpu, cuda:N or mps")
    if values.get("precision", "auto") not in ("auto", "float32", "bfloat16"):
        raise UsageError("study configuration: precision must be auto, float32 or bfloat16")
    if not isinstance(values.get("skip_missing", False), bool):
        raise UsageError("study configuration: skip_missing must be true or false")
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
        _check_names("demo", values["demo"], _DEMO_OPTIONS, may_be_empty=True)
        for key, number in values["demo"].items():
            if isinstance(number, bool) or not isinstance(number, _DEMO_OPTIONS[key]):
                raise UsageError(f"study configuration: demo: {key} must be a number")
    return StudySettings(**values)


def _path(key: str, value: Any) -> Path:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"study configuration: {key} must be a directory")
    return Path(value)


def _directories(corpora: Mapping[str, Any]) -> dict[str, Path]:
    """The directory of each corpus; no two may have the same, nor may one be without."""
    found: dict[str, Path] = {}
    for name, value in corpora.items():
        path = _path(f"corpora: {name}", value)
        if same := [other for other, directory in found.items() if directory == path]:
            raise UsageError(f"study configuration: corpora: {same[0]} and {name} have the same directory, {path}")
        found[name] = path
    return found


def _train_options(model: str, text: Any) -> str:
    """Options as typed to `train.py`, after they have been read as it would read them."""
    where = f"study configuration: train_options of {model}"
    if not isinstance(text, str):
        raise UsageError(f"{where} must be text, as typed to train.py")
    required = ["--dataset", "", "--model_name", ""]
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            given, default = (parse_arguments([*required, *more]) for more in (shlex.split(text), []))
    except ValueError as error:  # of shlex: a quotation mark without its other
        raise UsageError(f"{where}: {error} in {text}") from error
    except SystemExit as error:
        raise UsageError(f"{where}: {told.getvalue().strip().splitlines()[-1].rpartition('error: ')[2]}") from error
    own = [name for name in _SET_BY_THE_STUDY if getattr(given, name) != getattr(default, name)]
    if own:
        raise UsageError(f"{where} cannot set {listed(own)}: the study does, for all runs")
    return text


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
