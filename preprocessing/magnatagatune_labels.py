"""Make MagnaTagATune's label and split files from the corpus' own `annotations_final.csv`.

python preprocessing/magnatagatune_labels.py --annotations annotations_final.csv

Writes the five files the published split consists of: `tags.npy` (the 50 tags of most clips),
`binary.npy` (clips × tags, a row for each row of the annotations), and the lists `train.npy`
(folders 0 to b), `valid.npy` (c) and `test.npy` (d to f) of clips with at least one of the tags.
Synonyms ("vocals", "singing") stay separate tags.

The lists point into the rows of `binary.npy` by number, and rows are numbered as in the
annotations: from a file whose rows come in another order, or were edited, follow lists and
matrix that fit each other but not the published ones. Each file is therefore compared with the
published one, and all five are written together.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # the repository's packages, not this folder, come first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from config import DATA_DIR, DATASETS
from preprocessing.download import Checksum
from preprocessing.get_splits import published_files
from runtime.atomic_files import atomic_write, make_directory
from runtime.errors import DataError, UsageError, listed, run_script

FOLDERS = {"train": "0123456789ab", "valid": "c", "test": "def"}
PUBLISHED_COUNTS = {"train": 15247, "valid": 1529, "test": 4332}
# Clips whose mp3 in the release is an empty file.
EMPTY_CLIPS = frozenset(
    {
        "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
        "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
        "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_couperin-88-117.mp3",
    }
)


@dataclass(frozen=True)
class Annotations:
    """The rows of `annotations_final.csv`.

    Attributes:
        tags: the names of all tags, in the order of the columns.
        labels: (clips, tags) uint8.
        clips: each clip's `folder/file.mp3`.
    """

    tags: tuple[str, ...]
    labels: np.ndarray
    clips: tuple[str, ...]


def read_annotations(path: Path) -> Annotations:
    """Read `annotations_final.csv`: tab-separated columns clip_id, one a tag, mp3_path.

    Raises:
        DataError: the file is missing or has another form.
    """
    try:
        with path.open(encoding="utf-8") as file:
            names = [name.strip().strip('"') for name in file.readline().split("\t")]
        if names[:1] != ["clip_id"] or names[-1] != "mp3_path" or len(set(names)) != len(names) or len(names) < 3:
            raise DataError(f"the first line of {path} is not that of annotations_final.csv (clip_id, tags, mp3_path)")
        tags = names[1:-1]
        types = dict.fromkeys(tags, "uint8") | {"clip_id": "str", "mp3_path": "str"}
        table = pd.read_csv(path, sep="\t", dtype=types, names=names, skiprows=1, na_filter=False, index_col=False)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; the corpus' README says where to get it") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, OverflowError) as error:  # includes pandas' parser errors and bad UTF-8
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not as in the release ({first_line:.120}); fetch it again") from error
    labels = table[tags].to_numpy(dtype=np.uint8)
    clips = tuple(table["mp3_path"])
    strange = [clip for clip in clips if clip[1:2] != "/" or clip[:1] not in "0123456789abcdef" or clip[2:3] in "/."]
    if strange or "" in clips:
        raise DataError(f"{path} has clips that are not `folder/file.mp3`: {listed([repr(clip) for clip in strange])}")
    if len(labels) == 0 or labels.max() > 1:
        raise DataError(f"{path} should have rows of 0 and 1; fetch it again")
    return Annotations(tuple(tags), labels, clips)


def top_tags(annotations: Annotations, count: int) -> np.ndarray:
    """Columns of the `count` tags that most clips have, ties broken by code-point order: (count,) int64."""
    support = annotations.labels.sum(axis=0, dtype=np.int64)
    order = sorted(range(len(support)), key=lambda column: (-support[column], annotations.tags[column]))
    return np.array(order[:count], dtype=np.int64)


def split_lists(clips: Sequence[str], labels: np.ndarray) -> dict[str, list[str]]:
    """The lines `row<TAB>folder/file.mp3` of each split, for the clips that have a tag.

    Args:
        clips: `folder/file.mp3` of each row.
        labels: (clips, tags), the top tags only.
    """
    tagged = labels.any(axis=1)
    return {
        name: [f"{row}\t{clip}" for row, clip in enumerate(clips) if clip[0] in folders and tagged[row]]
        for name, folders in FOLDERS.items()
    }


def make_files(annotations: Annotations, n_tags: int, checksums: Mapping[str, Checksum]) -> dict[str, bytes]:
    """The contents of the five files, in the types that the published ones have.

    Three clips of the release are empty files. They are in the training list, unless the
    published one turns out to be the list without them.

    Args:
        annotations: the rows of the release.
        n_tags: size of the tag vocabulary.
        checksums: file name → checksum of the published file.
    """
    columns = top_tags(annotations, n_tags)
    labels = annotations.labels[:, columns]
    lists = split_lists(annotations.clips, labels)
    files = {"tags.npy": _npy(np.array(annotations.tags)[columns]), "binary.npy": _npy(labels.astype(np.float64))}
    files |= {f"{name}.npy": _npy(np.array(lines, dtype=str)) for name, lines in lists.items()}
    audible = [line for line in lists["train"] if line.partition("\t")[2] not in EMPTY_CLIPS]
    without_empty = _npy(np.array(audible, dtype=str))
    if checksums["train.npy"].matches(without_empty):
        files["train.npy"] = without_empty
    return files


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Make MagnaTagATune's label and split files from annotations_final.csv.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        required=True,
        default=argparse.SUPPRESS,
        help="annotations_final.csv of the release",
    )
    parser.add_argument("--data_dir", type=Path, default=DATA_DIR / "magnatagatune", help="the corpus' folder")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there and differ")
    parser.add_argument("--debug", action="store_true", help="show the traceback of errors")
    options = parser.parse_args(arguments)

    annotations = read_annotations(options.annotations)
    n_tags = DATASETS["magnatagatune"].n_tags
    checksums = {file.name: file.checksum for file in published_files("magnatagatune")}
    files = make_files(annotations, n_tags, checksums)
    split_dir = make_directory(options.data_dir / "split")
    replaced = [
        name for name in files if (split_dir / name).is_file() and (split_dir / name).read_bytes() != files[name]
    ]
    if replaced and not options.overwrite:
        raise UsageError(
            f"{', '.join(replaced)} in {split_dir} differ from what {options.annotations} gives; since the five files "
            "belong together, keep all or replace all with --overwrite"
        )
    for name, content in files.items():
        with atomic_write(split_dir / name) as file:
            file.write(content)

    different = [name for name in files if not checksums[name].matches(files[name])]
    print(f"{len(annotations.clips)} clips, {len(annotations.tags)} tags; the {n_tags} most frequent are used")
    for name, published in PUBLISHED_COUNTS.items():
        count = len(np.load(io.BytesIO(files[f"{name}.npy"])))
        print(f"  {name:<5} {count:>6} clips (published: {published})")
    print(f"written to {split_dir}: {', '.join(files)}")
    if different:
        print(
            f"not byte for byte the published files: {', '.join(different)}. The five fit each other; do not mix them "
            "with published ones, and expect figures that are not exactly comparable"
        )
    else:
        print("all five are the published files, byte for byte")


if __name__ == "__main__":
    run_script(main)
