"""A two-dimensional map of the corpora: near are those whose models help each other.

For target t and source s let g(t, s) be the gain in ROC-AUC of the transfer over training from
scratch, averaged over the models that have it. The gains of a target are centred on their mean,
since a small target gains more from any source. The dissimilarity of two corpora is what their mutual
help falls short of the greatest, d(a, b) = max m − m(a, b) with m(a, b) the mean of the centred
g(a, b) and g(b, a), plus the smallest constant that makes the distances Euclidean (Cailliez 1983, The
analytical solution of the additive constant problem, Psychometrika 48). Classical multidimensional
scaling (Torgerson 1952, Multidimensional scaling: I, Psychometrika 17) then places the corpora in the
plane: directions have no meaning, distances do.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import numpy as np

from study.results import Study, gain


@dataclass(frozen=True)
class CultureMap:
    """Places of corpora in the plane.

    Attributes:
        datasets: the corpora placed.
        points: (corpora, 2), in units of ROC-AUC gain, centred.
        explained: share of the sum of squared distances that the plane shows, from 0 to 1.
    """

    datasets: tuple[str, ...]
    points: np.ndarray
    explained: float


def gain_matrix(study: Study, *, final_layer_only: bool = False, model: str | None = None) -> np.ndarray:
    """Gains in ROC-AUC over training from scratch, (targets, sources), mean over models; NaN where there is none."""
    matrix = np.full((len(study.datasets),) * 2, math.nan)
    for row, target in enumerate(study.datasets):
        for column, source in enumerate(study.datasets):
            gains = [
                value
                for name in ([model] if model else study.models)
                if source != target
                and (result := study.get(target, name, source, final_layer_only=final_layer_only))
                and (value := gain(study, result)) is not None
            ]
            if gains:
                matrix[row, column] = statistics.fmean(gains)
    return matrix


def culture_map(study: Study) -> CultureMap | None:
    """Place the corpora of a study; None with fewer than three of them or with gaps in the matrix."""
    gains = gain_matrix(study)
    n = len(gains)
    if n < 3 or np.isnan(gains[~np.eye(n, dtype=bool)]).any():
        return None
    distances = dissimilarities(gains)
    points, explained = classical_mds(distances + additive_constant(distances) * ~np.eye(n, dtype=bool))
    return CultureMap(study.datasets, points, explained)


def dissimilarities(gains: np.ndarray) -> np.ndarray:
    """(corpora, corpora), symmetric with zeros on the diagonal, from gains of (targets, sources)."""
    centred = gains - np.nanmean(gains, axis=1, keepdims=True)
    mutual = (centred + centred.T) / 2
    distances = np.nanmax(mutual) - mutual
    np.fill_diagonal(distances, 0.0)
    return distances


def additive_constant(distances: np.ndarray) -> float:
    """The smallest constant which, added to all distances, makes them those of points in space (Cailliez 1983)."""
    n = len(distances)
    identity, zero = np.eye(n), np.zeros((n, n))
    matrix = np.block([[zero, 2 * _gram(distances**2)], [-identity, -4 * _gram(distances)]])
    return max(0.0, float(np.linalg.eigvals(matrix).real.max()))


def classical_mds(distances: np.ndarray) -> tuple[np.ndarray, float]:
    """Points in the plane whose distances come near to `distances`, and the share of variance they show."""
    values, vectors = np.linalg.eigh(_gram(distances**2))
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    points = vectors[:, :2] * np.sqrt(values[:2])
    # The sign of an axis is arbitrary; fixed so that the same results give the same map.
    points *= np.where(points[np.abs(points).argmax(axis=0), [0, 1]] < 0, -1, 1)
    total = values.sum()
    return points, float(values[:2].sum() / total) if total > 0 else 1.0


def _gram(squared: np.ndarray) -> np.ndarray:
    """−½ J D J with J the centring matrix: inner products, where D holds squared distances."""
    centring = np.eye(len(squared)) - 1 / len(squared)
    return -0.5 * centring @ squared @ centring
