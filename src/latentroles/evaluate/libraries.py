"""scikit-learn and scipy, loaded where they are needed: core imports without them."""

import warnings
from typing import Any

import numpy as np

from latentroles.errors import PluginError


def scipy_stats() -> Any:
    """The module `scipy.stats`.

    Raises:
        PluginError: it is not installed; names the extra that brings it.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise _missing("scipy", error) from error
    return stats


def scipy_graphs() -> Any:
    """The module `scipy.sparse.csgraph`, of which the same holds."""
    try:
        from scipy.sparse import csgraph
    except ImportError as error:
        raise _missing("scipy", error) from error
    return csgraph


class LinearProbe:
    """A logistic regression of vectors that are shifted and scaled to mean 0 and total variance 1.

    One scale for all columns: with the penalty of length alone, turned vectors and vectors padded
    with zeros are read alike.

    Args:
        strength: the inverse of the penalty, scikit-learn's C.
    """

    def __init__(self, strength: float, iterations: int = 100):
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise _missing("scikit-learn", error) from error
        self._model = LogisticRegression(C=strength, max_iter=iterations)

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Fits classes y, (n,) of at least two values, to x, (n, D)."""
        from sklearn.exceptions import ConvergenceWarning

        self._mean, spread = x.mean(axis=0), float(np.sqrt(x.var(axis=0).sum()))
        # Round-off is no signal, however regular.
        level = 1e-7 * max(float(np.linalg.norm(self._mean)), 1e-300)
        self._scale = spread if spread > level else np.inf
        with warnings.catch_warnings():
            # A probe that has not converged reads less: what it reads is there all the same.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Hardly more visits than places: few are read, and that is the answer.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            self._model.fit(self._scaled(x), y)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n,): the likeliest class of each row."""
        return np.asarray(self._model.predict(self._scaled(x)))

    def probabilities(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The classes (K,) and their probabilities (n, K)."""
        return self._model.classes_, self._model.predict_proba(self._scaled(x))

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return (x - self._mean) / self._scale


def _missing(package: str, error: ImportError) -> PluginError:
    return PluginError(
        f"Measuring an encoder needs {package}, which cannot be imported ({error}). "
        "Install it: pip install 'latentroles[evaluate]'"
    )
