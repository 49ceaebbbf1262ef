"""Every metric of one embedding, and what each means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..arguments import choice, integer
from ..errors import SpecError, user_line
from . import asked, spreads
from .controls import reckoning
from .leakage import LAGS, LEAST_VISITS, Leak, Nuisance, actions_leaked, nuisances_leaked
from .narrow import narrowed
from .retrieval import Retrieval, retrieve
from .spreads import Collapse, Drift, Spread
from .visits import Visits, checked, dead

RECKONS = 0.5  # of the variation within places
_FEW, _MANY = 1.5, 8  # a rank that is low, for so many dimensions: as in `train.collapse`
FAMILIES = ("retrieval", "spreads", "leakage", "collapse")


class Metric(NamedTuple):
    """A metric's name in tables, which way is better ("" where neither is), and its definition."""

    title: str
    better: str
    meaning: str


METRICS: dict[str, Metric] = {
    "r1_hard": Metric(
        "R@1, hard",
        "more",
        "share of queries whose nearest visit, among those of other episodes with other values of "
        "every nuisance, is to the same place",
    ),
    "r5_hard": Metric("R@5, hard", "more", "the same, one of the 5 nearest"),
    "r10_hard": Metric("R@10, hard", "more", "the same, one of the 10 nearest"),
    "r20_hard": Metric("R@20, hard", "more", "the same, one of the 20 nearest"),
    "r1_hard_chance": Metric("  chance", "", "R@1, hard, in a random order"),
    "r1": Metric("R@1", "more", "the same among all visits that are compared"),
    "r5": Metric("R@5", "more", "one of the 5 nearest"),
    "r10": Metric("R@10", "more", "one of the 10 nearest"),
    "r20": Metric("R@20", "more", "one of the 20 nearest"),
    "beats": Metric(
        "revisit beats all", "more", "share of revisits nearer than every wrong place, by query"
    ),
    "beats_hard": Metric(
        "  other nuisance", "more", "the same of revisits in other episodes with other nuisances"
    ),
    "auc": Metric("AUC-ROC", "more", "probability that a revisit is nearer than a wrong place"),
    "ap": Metric("AP", "more", "average precision over all pairs"),
    "prevalence": Metric("  prevalence", "", "share of revisits among pairs: AP of chance"),
    "r100p": Metric("R@100P", "more", "share of revisits nearer than any pair that is apart"),
    "lcr": Metric("LCR", "less", "root mean square distance of revisits over that of visits apart"),
    "lcr_unlike": Metric(
        "LCR, unlike frames", "less", "the same of revisits whose frames differ: the claim G2"
    ),
    "w": Metric("W", "less", "share of the variance that is within places"),
    "w_whitened": Metric("W, whitened", "less", "the same where z has covariance 1"),
    "drift": Metric(
        "drift", "less", "slope of log LCR against log loop length: 0, 1/2 diffusive, 1 ballistic"
    ),
    "reckoning": Metric(
        "dead reckoning", "less", "R^2 of z within places from the summed actions and the time"
    ),
    "rank": Metric("RankMe", "more", "effective number of dimensions"),
    "std": Metric("std", "", "mean standard deviation of a dimension"),
    "least_std": Metric("least std", "", "the least of them"),
    "cosine": Metric("mean cosine", "", "mean cosine between two visits"),
    "probe": Metric("place probe", "more", "accuracy of a linear probe of the place"),
    "majority": Metric("  majority", "", "accuracy of always saying the commonest place"),
}


@dataclass(frozen=True)
class Measured:
    """The metrics of one embedding.

    Attributes:
        values: metric -> number; None where it cannot be measured. Those of `METRICS`, and
            `leak_a1`, `leak_a1_noisy`, ... for actions, `leak_NAME`, ... for nuisances, each with
            `..._permuted` beside it and `..._entropy` above it.
        retrieval, spread, drift, collapse: in full; None where they were not asked for.
        actions: steps back -> what leaks of that action.
        nuisances: name -> what leaks of it, and how far it moves z.
        episodes: metric -> (episodes, 2): its mean in each episode that has a query, and how many
            queries it has. The metric is their weighted mean; for intervals.
        notes: what is to be known before the numbers are read.
    """

    values: Mapping[str, float | None]
    dimensions: int
    degenerate: bool
    retrieval: Retrieval | None = None
    spread: Spread | None = None
    drift: Drift | None = None
    collapse: Collapse | None = None
    actions: Mapping[int, Leak | None] = field(default_factory=dict)
    nuisances: Mapping[str, Nuisance] = field(default_factory=dict)
    episodes: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it but what is kept per visit; NaN becomes null."""
        details: dict[str, Any] = {
            "dimensions": self.dimensions,
            "degenerate": self.degenerate,
            "values": dict(self.values),
            "notes": list(self.notes),
            "actions": {str(k): leak and asdict(leak) for k, leak in self.actions.items()},
            "nuisances": {name: asdict(found) for name, found in self.nuisances.items()},
        }
        if self.retrieval is not None:
            details["pairs"] = list(self.retrieval.pairs)
            details["auc_error"] = self.retrieval.auc_error
            details["queries"] = self.retrieval.easy.queries
            details["queries_hard"] = self.retrieval.hard.queries
        if self.drift is not None:
            details["drift"] = asdict(self.drift)
        if self.collapse is not None:
            details["spectrum"] = list(self.collapse.spectrum)
        return plain(details)


def measure(
    visits: Visits,
    z: Any,
    *,
    only: Iterable[str] = FAMILIES,
    lags: Iterable[int] = LAGS,
    periods: Mapping[str, float] | None = None,
    seed: int = 0,
    what: str = "the encoder",
    exact: int | None = None,
) -> Measured:
    """Measures an embedding of visits.

    Args:
        z: (N, D) finite numbers.
        only: which families, of "retrieval", "spreads", "leakage" and "collapse".
        lags: how many steps back the actions lie whose leakage is measured; () for none.
        periods: as for `leakage.nuisances_leaked`.
        exact: as for `narrow.narrowed`, which gives what distances, ranks and probes are of, where
            z has more dimensions than different vectors.

    Raises:
        SpecError: an argument means nothing.
        EncoderError: z is not one finite vector for each visit.
        DataError: the visits know of no actions so far back, or nothing is apart.
    """
    if not isinstance(visits, Visits):
        raise SpecError(
            f"{user_line()}measure() takes visits and their vectors, measure(visits, z); received "
            f"{type(visits).__name__} as visits. Fix: lr.Visits(place=..., episode=..., time=...)."
        )
    only, lags = families("measure()", only), asked.lags("measure()", lags)
    periods = asked.periods("measure()", periods)
    seed = integer("measure()", "seed", seed, "of all that is drawn", minimum=0)
    own = checked(z, len(visits), what)
    z = narrowed(own, exact)
    notes = []
    constant = dead(own)
    spread = spreads.spread(visits, z)
    if spread.degenerate:  # what is left of it is round-off, in which a rank could still be read
        z = np.zeros_like(z)
    if constant and not spread.degenerate:
        shown = ", ".join(map(str, constant[:8])) + (", ..." if len(constant) > 8 else "")
        notes.append(f"{len(constant)} of {own.shape[1]} dimensions never change: {shown}")
    values: dict[str, float | None] = {}
    parts: dict[str, Any] = {}
    if "retrieval" in only:
        parts["retrieval"] = found = retrieve(visits, z)
        values |= _retrieved(found)
        parts["episodes"] = {
            "r1": _by_episode(visits, found.easy.first),
            "r1_hard": _by_episode(visits, found.hard.first),
        }
        if not found.hard.queries:
            notes.append("no visit has a revisit in another episode with every nuisance changed")
    if "spreads" in only:
        parts["spread"] = spread
        values |= {"lcr": spread.lcr, "lcr_unlike": _unlike(visits, z, spread)}
        w = (1.0, 1.0) if spread.degenerate else spreads.within_share(visits.label, z)
        values |= dict(zip(("w", "w_whitened"), w, strict=True))
        parts["drift"] = Drift(float("nan"), (), ())
        if not spread.degenerate:
            parts["drift"] = spreads.drift(visits, z, spread.apart.mean, seed)
        values["drift"] = parts["drift"].slope
        values["reckoning"] = reckoned = reckoning(visits, z)
        if reckoned > RECKONS:
            notes.append(
                f"dead reckoning: {reckoned:.0%} of what varies within places is the sum of the "
                "actions so far, or the time"
            )
    if "leakage" in only:
        parts["actions"] = actions_leaked(visits, z, lags, seed) if lags else {}
        parts["nuisances"] = {}
        if not spread.degenerate:
            parts["nuisances"] = nuisances_leaked(visits, z, spread.apart.mean, periods, seed)
        leaks = {f"a{k}": leak for k, leak in parts["actions"].items()}
        leaks |= {name: nuisance.leak for name, nuisance in parts["nuisances"].items()}
        for name, leak in leaks.items():
            values |= _leak(name, leak)
        if unread := [name for name, leak in leaks.items() if leak is None]:
            notes.append(
                f"no leak is measured of {', '.join(unread)}: no place has {LEAST_VISITS} visits, "
                "of two episodes, that differ in it; it takes more episodes, or coarser places"
            )
    if "collapse" in only:
        parts["collapse"] = kept = spreads.collapse(visits, own, seed, turned=z)
        names = ("rank", "std", "least_std", "cosine", "probe", "majority")
        values |= {name: getattr(kept, name) for name in names}
        if np.isnan(kept.probe):
            notes.append(
                f"no place probe: {kept.known:.0%} of the visits that it would be judged on are to "
                "places of the episodes that it is trained on; it takes more episodes, or coarser "
                "places"
            )
        if 0 < kept.rank < _FEW and own.shape[1] >= _MANY:
            notes.append(f"z keeps to few of its {own.shape[1]} dimensions: rank {kept.rank:.2g}")
    return Measured(
        values={name: plain(value) for name, value in values.items()},
        dimensions=own.shape[1],
        degenerate=spread.degenerate,
        notes=tuple(notes),
        **parts,
    )


def families(owner: str, only: Any) -> tuple[str, ...]:
    """`only`, if it names families; or SpecError."""
    named = asked.listed(only)
    if not named:
        raise SpecError(
            f"{user_line()}{owner}: only lists one or more of {', '.join(FAMILIES)}; received "
            f"{only!r}. Fix: pass only=['spreads'], say."
        )
    return tuple(choice(owner, "only", name, FAMILIES) for name in named)


def plain(value: Any) -> Any:
    """Numbers as JSON has them: NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _retrieved(found: Retrieval) -> dict[str, float]:
    values = {f"r{k}_hard": value for k, value in found.hard.at.items()}
    values["r1_hard_chance"] = found.hard.chance
    values |= {f"r{k}": value for k, value in found.easy.at.items()}
    values |= {"beats": found.easy.beats, "beats_hard": found.hard.beats}
    return values | {name: getattr(found, name) for name in ("auc", "ap", "prevalence", "r100p")}


def _unlike(visits: Visits, z: np.ndarray, spread: Spread) -> float:
    """LCR over revisits whose frames differ; NaN where frames are not known, or none do."""
    if visits.view is None or spread.degenerate:
        return float("nan")
    unlike = spread.revisits.without(spreads.revisit_squares(visits, z, visits.view))
    return float(np.sqrt(unlike.mean / spread.apart.mean))


def _leak(name: str, leak: Leak | None) -> dict[str, float | None]:
    if leak is None:
        return {f"leak_{name}": None, f"leak_{name}_noisy": None}
    return {
        f"leak_{name}": leak.bits,
        f"leak_{name}_permuted": leak.permuted,
        f"leak_{name}_noisy": leak.noisy,
        f"leak_{name}_noisy_permuted": leak.noisy_permuted,
        f"leak_{name}_entropy": leak.entropy,
    }


def _by_episode(visits: Visits, scores: np.ndarray) -> np.ndarray:
    """(episodes, 2): the mean score of each episode that has a query, and its queries."""
    queried = np.isfinite(scores)
    _, episode = np.unique(visits.episode[queried], return_inverse=True)
    queries = np.bincount(episode.reshape(-1))
    return np.stack([np.bincount(episode.reshape(-1), scores[queried]) / queries, queries], axis=1)
