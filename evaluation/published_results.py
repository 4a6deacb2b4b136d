"""The 54 results published with the study, and the Markdown table of them in the README.

`python -m evaluation.published_results` prints the table; with `--repository DIR`, a checkout of the
authors' repository (pxaris/ccml, commit 1f20c2f), it writes `evaluation/published/results.csv` anew
from the figures in `DIR/evaluation/{dataset}/{model_name}.txt`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from config import DATASETS, MODELS, MODELS_CONFIG, ROOT, RunName, parse_model_name
from runtime.arguments import ScriptParser
from runtime.atomic_files import atomic_write
from runtime.errors import DataError, UserError, run_script

PUBLISHED_RESULTS = ROOT / "evaluation" / "published" / "results.csv"
COLUMNS = ("dataset", "model", "source", "final_layer_only", "roc_auc", "pr_auc", "model_name")


@dataclass(frozen=True)
class PublishedResult:
    """A published test result: macro averages over the tags of `dataset`."""

    dataset: str
    run: RunName
    roc_auc: float
    pr_auc: float


def read_published_results(path: Path = PUBLISHED_RESULTS) -> list[PublishedResult]:
    """The published results, in the order of the file.

    Raises:
        DataError: the file is missing, damaged, or names a run that the study does not have.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            results = [_result(row) for row in csv.DictReader(file)]
        if not results:
            raise ValueError("there is no row")
        runs = Counter((result.dataset, result.run) for result in results)
        (dataset, run), times = runs.most_common(1)[0]
        if times > 1:
            raise ValueError(f"{run} on {dataset} is there {times} times")
    except OSError as error:
        raise DataError(f"cannot read the published results {path} ({error.strerror})") from error
    except (KeyError, ValueError, TypeError, csv.Error, UserError) as error:
        what = f"no column {error}" if isinstance(error, KeyError) else error
        raise DataError(f"the published results {path} are damaged ({what}); take the file from the project") from error
    return results


def _result(row: Mapping[str, str]) -> PublishedResult:
    run = parse_model_name(row["dataset"], row["model_name"])
    areas = {name: float(row[name]) for name in ("roc_auc", "pr_auc")}
    for name, area in areas.items():
        if not 0 <= area <= 1:
            raise ValueError(f"{name} of {row['model_name']} on {row['dataset']} is {area}, not from 0 to 1")
    return PublishedResult(row["dataset"], run, **areas)


def read_repository(directory: Path) -> list[PublishedResult]:
    """The results in a checkout of the authors' repository, in the order of `config.py`.

    Raises:
        DataError: there are none, or a file lacks its figures.
    """
    results = []
    for dataset, runs in MODELS_CONFIG.items():
        for model_name, run in runs.items():
            path = directory / "evaluation" / dataset / f"{model_name}.txt"
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                areas = (_figure(text, "ROC-AUC", path), _figure(text, "PR-AUC", path))
                results.append(PublishedResult(dataset, run.name, *areas))
    if not results:
        raise DataError(f"no evaluation/DATASET/MODEL_NAME.txt in {directory}; give a checkout of pxaris/ccml")
    return results


def _figure(text: str, name: str, path: Path) -> float:
    match = re.search(rf"^{name} score: ([0-9.]+)$", text, flags=re.MULTILINE)
    if match is None:
        raise DataError(f"no line '{name} score: …' in {path}")
    return float(match[1])


def write_published_results(results: Iterable[PublishedResult], path: Path = PUBLISHED_RESULTS) -> None:
    """Write results as `read_published_results` reads them."""
    with atomic_write(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for result in results:
            run = result.run
            final_layer_only = str(run.final_layer_only).lower()
            writer.writerow(
                [result.dataset, run.model, run.source or "", final_layer_only, result.roc_auc, result.pr_auc, run]
            )


def markdown_table(results: Iterable[PublishedResult]) -> str:
    """ROC-AUC / PR-AUC by target and model, with the source of each transfer; best of a target in bold."""
    results = list(results)
    lines = [
        "| Target | Model | Single-domain | Best transfer, whole network | Best transfer, final layer |",
        "|---|---|---|---|---|",
    ]
    for dataset in DATASETS.values():
        of_dataset = [result for result in results if result.dataset == dataset.name]
        for model in MODELS:
            cells = ["—"] * 3
            for result in of_dataset:
                if result.run.model == model:
                    column = 0 if result.run.source is None else 2 if result.run.final_layer_only else 1
                    cells[column] = _cell(result, of_dataset)
            lines.append(f"| {dataset.title} | `{model}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(result: PublishedResult, of_dataset: list[PublishedResult]) -> str:
    def figure(name: str) -> str:
        value = getattr(result, name)
        text = f"{value:.4f}"
        return f"**{text}**" if value == max(getattr(other, name) for other in of_dataset) else text

    source = f" from {DATASETS[result.run.source].title}" if result.run.source else ""
    return f"{figure('roc_auc')} / {figure('pr_auc')}{source}"


def main() -> None:
    parser = ScriptParser("Print the published results as a Markdown table (ROC-AUC / PR-AUC).")
    parser.add_argument("--repository", type=Path, help="take the figures from this checkout and write them first")
    arguments = parser.parse_args()
    if arguments.repository is not None:
        write_published_results(read_repository(arguments.repository))
    print(markdown_table(read_published_results()), end="")


if __name__ == "__main__":
    run_script(main)
