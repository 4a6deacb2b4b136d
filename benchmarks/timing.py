"""Paired timings: baseline and ours in turn, several rounds; medians and ratios."""

from __future__ import annotations

import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from runtime.atomic_files import atomic_write, make_directory
from runtime.provenance import versions


@dataclass(frozen=True)
class Result:
    """Rates (items a second) of the two paths, and the median over rounds of their ratio."""

    name: str
    unit: str
    baseline: float
    ours: float
    ratio: float
    rounds: int
    utilisation: float | None = None  # of the device's matrix-product rate, by ours; where it was measured


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def compare(
    name: str,
    unit: str,
    baseline: Callable[[], int],
    ours: Callable[[], int],
    rounds: int,
    deadline: float = math.inf,
) -> Result:
    """Time two functions in turn; each returns, with all its work done, how many items it has worked on.

    One untimed call of each comes first. The ratio is taken within each round, so that what
    else the machine does weighs on both sides. After the first timed round no other is begun that
    would probably end later than `deadline` (of `time.monotonic`); the result says how many there were.
    """
    rates: dict[str, list[float]] = {"baseline": [], "ours": []}
    for round_number in range(rounds + 1):
        began = time.monotonic()
        for side, work in (("baseline", baseline), ("ours", ours)):
            started = time.perf_counter()
            items = work()
            if round_number:
                rates[side].append(items / (time.perf_counter() - started))
        if round_number and 2 * time.monotonic() - began > deadline:
            break
    ratios = [fast / slow for slow, fast in zip(rates["baseline"], rates["ours"], strict=True)]
    return Result(
        name,
        unit,
        statistics.median(rates["baseline"]),
        statistics.median(rates["ours"]),
        statistics.median(ratios),
        len(ratios),
    )


def print_results(results: Sequence[Result]) -> None:
    """The table of a benchmark."""
    print(f"\n{'work':<28} {'unit':<14} {'baseline':>10} {'ours':>10} {'ratio':>7} {'rounds':>7} {'of peak':>8}")
    for result in results:
        used = "" if result.utilisation is None else f"{result.utilisation:.1%}"
        rates = f"{result.baseline:>10.1f} {result.ours:>10.1f} {result.ratio:>6.2f}x"
        print(f"{result.name:<28} {result.unit:<14} {rates} {result.rounds:>7} {used:>8}")


def machine(device: torch.device) -> dict[str, str | int]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu,
        "threads": torch.get_num_threads(),
    }


def write_results(path: Path, results: Sequence[Result], device: torch.device, **settings: object) -> None:
    """Write the figures with the machine, the versions and the settings they belong to."""
    content = {
        "machine": machine(device),
        "versions": versions(),
        "settings": settings,
        "results": [asdict(result) for result in results],
    }
    write_json(path, content)


def write_json(path: Path, content: object) -> None:
    """Write a file of figures."""
    make_directory(path.parent)
    with atomic_write(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
