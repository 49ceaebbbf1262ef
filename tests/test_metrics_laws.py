"""M1 to M8 and M13: metrics on latent clouds whose scores are known, and planted mistakes in them.

M9 is in test_statistics.py, M10 in test_composition.py, M14 in test_evaluate.py; M11 and M12 are
laws of the ladder.
"""

import inspect
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

import clouds
import latentroles as lr
from latentroles.evaluate import controls, leakage, libraries, measured, narrow, retrieval, spreads
from latentroles.evaluate.measured import measure
from latentroles.evaluate.visits import Visits, past_actions
from latentroles.words.corridor import corridor
from mutated import KILLS

SEEDS = st.integers(0, 10_000)
PAIRS = ("retrieval", "spreads")
COORDINATES = (*PAIRS, "collapse")
RECALLS = [f"r{k}{form}" for k in (1, 5, 10, 20) for form in ("", "_hard")]


def values(visits, z, only=PAIRS):
    return measure(visits, z, only=only).values


# The laws -----------------------------------------------------------------------------------------


def m1_an_oracle_is_perfect(seed):
    visits = clouds.visits(seed)
    found = values(visits, controls.oracle(visits))
    perfect = [*RECALLS, "auc", "ap", "r100p", "beats", "beats_hard"]
    assert {name: found[name] for name in perfect} == dict.fromkeys(perfect, pytest.approx(1.0))
    assert [found[name] for name in ("lcr", "w", "w_whitened")] == pytest.approx([0, 0, 0])


def m2_a_constant_is_degenerate_and_scores_what_chance_scores(seed):
    visits = clouds.visits(seed)
    found = measure(visits, np.full((len(visits), 3), 0.1), only=PAIRS)
    assert found.degenerate
    positive, negative = clouds.all_pairs(visits)
    flat = np.zeros(positive.shape)
    hard = clouds.different(visits)
    for k in (1, 5):
        easy = clouds.recall(flat, positive, negative, k)
        assert found.values[f"r{k}"] == pytest.approx(easy)
        hardest = clouds.recall(flat, positive & hard, negative & hard, k)
        assert found.values[f"r{k}_hard"] == pytest.approx(hardest)
    assert found.values["r1"] == pytest.approx(found.values["prevalence"], abs=0.02)
    assert found.values["auc"] == pytest.approx(0.5)
    assert found.values["ap"] == pytest.approx(found.values["prevalence"])
    assert found.values["r100p"] == found.values["beats"] == 0.0
    assert found.values["lcr"] is None


def m3_rotation_scale_shift_and_padding_change_nothing(seed):
    visits = clouds.visits(seed)
    z = clouds.cloud(visits, seed, light=0.5)
    turned = 7.0 * z @ turn(seed, 5) + 100.0
    padded = np.hstack([z, np.full((len(z), 20), 3.0)])
    found = values(visits, z, COORDINATES)
    for moved in (turned, padded):
        for name, value in values(visits, moved, COORDINATES).items():
            if name not in ("std", "least_std", "cosine"):  # those are of the coordinates
                loose = {"ap": 2e-3, "probe": 0.02}.get(name, 1e-4)
                assert value == pytest.approx(found[name], abs=loose), name


def m3_of_leakage(seed):
    """At 400 visits, where a probe that weighs columns alike reads far less of what is turned."""
    visits = clouds.visits(seed, places=4, episodes=10, steps=40)
    label = np.random.default_rng(seed).integers(3, size=len(visits))
    place = clouds.cloud(visits, seed, dimensions=12, within=0.3)
    for size in (0.1, 8.0):
        z = np.hstack([place, size * np.eye(3)[label]])
        plain = leakage.leaked(visits, z, label)
        assert 0.5 < plain.bits <= plain.entropy
        assert (plain.noisy > 0.3) == (size > 1)
        for moved in (7.0 * z @ turn(seed, 15) + 10, np.hstack([z, np.full((len(z), 300), 3.0)])):
            found = leakage.leaked(visits, moved, label)
            assert found.bits == pytest.approx(plain.bits, abs=0.02)
            # Noise is drawn in coordinates of z's own, whose signs may differ.
            assert found.noisy == pytest.approx(plain.noisy, abs=0.15)


def a_leak_is_read_however_faint(seed):
    """A hundredth of what else varies at a place, beside 32 and 128 directions of that."""
    visits = clouds.visits(seed, places=6, episodes=20, steps=120)
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=len(visits))
    for dimensions, least in ((32, 1.4), (128, 1.0)):
        place = clouds.cloud(visits, seed, dimensions=dimensions, within=dimensions**-0.5)
        found = leakage.leaked(visits, np.hstack([place, 0.01 * np.eye(3)[label]]), label)
        assert least < found.bits <= found.entropy
        assert found.permuted < 0.05
        assert found.noisy < 0.05
        # Strong, and along one of many directions that are hardly there: not lost among them.
        faint = np.hstack([1e-4 * rng.standard_normal((len(visits), dimensions)), np.eye(3)[label]])
        assert leakage.leaked(visits, faint, label).bits > 1.4


def turn(seed, dimensions):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dimensions,) * 2))[0]


def m4_shuffled_places_are_chance(seed):
    visits = clouds.visits(seed, places=60, steps=60)
    z = controls.shuffled(clouds.cloud(visits, seed), seed)
    found = values(visits, z)
    assert found["r1_hard"] == pytest.approx(found["r1_hard_chance"], abs=0.05)
    assert [found[name] for name in ("auc", "w", "w_whitened", "lcr")] == pytest.approx(
        [0.5, 1, 1, 1], abs=0.08
    )
    assert found["ap"] == pytest.approx(found["prevalence"], abs=0.02)


def m5_duplicated_visits_change_nothing(seed):
    visits = clouds.visits(seed, steps=15)
    z = clouds.cloud(visits, seed)
    twice = Visits(
        *(np.repeat(column, 2, axis=0) for column in (visits.place, visits.episode, visits.time)),
        nuisance={"light": np.repeat(visits.nuisance["light"], 2)},
    )
    once, again = values(visits, z), values(twice, np.repeat(z, 2, axis=0))
    unmoved = ("r1", "r1_hard", "beats", "beats_hard", "auc", "ap", "prevalence", "r100p", "lcr")
    for name in unmoved:
        assert again[name] == pytest.approx(once[name], abs=1e-9), name


def m6_noise_does_not_lower_lcr(seed):
    visits = clouds.visits(seed)
    z = clouds.cloud(visits, seed, light=0.3)
    rng = np.random.default_rng(seed)
    plain = spreads.spread(visits, z).lcr
    for size in (0.2, 1.0):
        noisy = [
            spreads.spread(visits, z + size * rng.standard_normal((3, 5))[visits.nuisance["light"]])
            for _ in range(12)
        ]
        assert np.mean([found.lcr**2 for found in noisy]) >= 0.97 * plain**2


def m7_dead_reckoning_is_flagged(seed):
    visits = walks(seed)
    reckoned = measure(visits, controls.dead_reckoned(visits), only=["spreads"])
    timed = measure(visits, controls.time_index(visits), only=["spreads"])
    placed = measure(visits, clouds.cloud(visits, seed, within=0.1), only=["spreads"])
    for found in (reckoned, timed):
        assert found.values["reckoning"] > 0.9
        assert any(note.startswith("dead reckoning") for note in found.notes)
    assert timed.values["drift"] == pytest.approx(1, abs=0.05)
    assert placed.values["reckoning"] < 0.2
    assert placed.values["drift"] == pytest.approx(0, abs=0.2)
    assert not placed.notes


def m8_leakage_is_what_is_put_in(seed):
    visits = clouds.visits(seed, places=3, episodes=10, steps=60)
    rng = np.random.default_rng(seed)
    # One of two values at each place: it tells of the place, and the place tells one bit less.
    label = (visits.label + rng.integers(2, size=len(visits))) % 3
    place, shown = controls.oracle(visits), np.eye(3)[label]

    def leak(z):
        found = leakage.leaked(visits, z, label, seed)
        assert found is not None
        assert found.entropy == pytest.approx(1, abs=0.02)
        assert found.permuted < 0.05
        assert found.noisy_permuted < 0.05
        return found

    nothing = leak(place)
    assert abs(nothing.bits) < 0.02
    assert abs(nothing.noisy) < 0.06
    faint = leak(np.hstack([place, 1e-3 * shown]))
    assert faint.bits == pytest.approx(1, abs=0.1)
    assert faint.noisy < 0.06
    assert leak(np.hstack([place, shown])).noisy > 0.6
    half = leak(np.hstack([place, shown * (rng.random((len(visits), 1)) < 0.5)]))
    assert half.bits == pytest.approx(0.5, abs=0.15)


def pairs_agree_with_their_definitions(seed):
    """On a lattice, where ties are many and exact."""
    rng = np.random.default_rng(seed)
    count, places = 6 * 50, 5  # more than a block of rows
    gap = np.abs(np.subtract.outer(np.arange(places), np.arange(places))).astype(float)
    visits = clouds.visits(
        seed,
        places=places,
        episodes=6,
        steps=50,
        view=rng.integers(12, size=count) if seed % 2 else None,
        distance=gap if seed % 3 else None,
        tolerance=1.0 if seed % 3 else 0.0,
        tau=int(rng.integers(4)),
    )
    z = (visits.label[:, None] + rng.integers(-1, 2, size=(count, 2))).astype(float)
    positive, negative = clouds.all_pairs(visits)
    far, hard = clouds.squares(z), clouds.different(visits)
    found = values(visits, z)
    for k in (1, 5, 10):
        assert found[f"r{k}"] == pytest.approx(clouds.recall(far, positive, negative, k))
        hardest = clouds.recall(far, positive & hard, negative & hard, k)
        assert found[f"r{k}_hard"] == pytest.approx(hardest)
    compared = positive | negative
    assert found["auc"] == pytest.approx(roc_auc_score(positive[compared], -far[compared]))
    assert found["ap"] == pytest.approx(average_precision_score(positive[compared], -far[compared]))
    assert found["prevalence"] == pytest.approx(positive[compared].mean())
    assert found["r100p"] == pytest.approx((far[positive] < far[negative].min()).mean())
    nearest = np.where(negative, far, np.inf).min(axis=1)
    for name, which in (("beats", positive), ("beats_hard", positive & hard)):
        asked = which.any(axis=1) & (negative & (hard | (name == "beats"))).any(axis=1)
        shares = (which & (far < nearest[:, None])).sum(axis=1)[asked] / which.sum(axis=1)[asked]
        assert found[name] == pytest.approx(shares.mean())
    assert found["lcr"] == pytest.approx(np.sqrt(far[positive].mean() / far[negative].mean()))
    if visits.view is not None:
        unlike = positive & (visits.view[:, None] != visits.view[None, :])
        assert found["lcr_unlike"] == pytest.approx(
            np.sqrt(far[unlike].mean() / far[negative].mean())
        )


def w_agrees_with_its_definition(seed):
    visits = clouds.visits(seed)
    z = clouds.cloud(visits, seed)
    inside = sum(
        np.sum((z[visits.label == p] - z[visits.label == p].mean(axis=0)) ** 2)
        for p in range(visits.count)
    )
    found = values(visits, z, ["spreads"])
    freedom = len(z) - visits.count
    assert found["w"] == pytest.approx(inside / freedom / np.trace(np.cov(z.T)))
    white = (z - z.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T))).T
    assert found["w_whitened"] == pytest.approx(values(visits, white, ["spreads"])["w"])


def nuisances_agree_with_their_definitions(seed):
    visits = clouds.visits(seed, places=60, nuisances=4)  # few visits to a place: no probes
    z = clouds.cloud(visits, seed, light=0.7)
    positive, negative = clouds.all_pairs(visits)
    far, light = clouds.squares(z), visits.nuisance["light"]
    apart = far[negative].mean()
    found = leakage.nuisances_leaked(visits, z, apart)["light"]
    other = light[:, None] != light[None, :]
    assert found.differ == pytest.approx(np.sqrt(far[positive & other].mean() / apart))
    assert found.agree == pytest.approx(np.sqrt(far[positive & ~other].mean() / apart))
    change = np.abs(light[:, None] - light[None, :])
    same = visits.label[:, None] == visits.label[None, :]
    assert found.magnitudes == pytest.approx((1, 2, 3))
    assert found.lcr == pytest.approx(
        [np.sqrt(far[same & (change == size)].mean() / apart) for size in (1, 2, 3)]
    )


def wide_vectors_measure_like_the_few_that_they_hold(seed):
    """Five dimensions lie in six hundred: all but what is said of single dimensions is the same."""
    visits = clouds.visits(seed)
    z = clouds.cloud(visits, seed, light=0.5) + 3.0
    axes, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((600, 5)))
    wide = z @ axes.T
    few = measure(visits, z, only=["retrieval", "spreads", "collapse"]).values
    many = measure(visits, wide, only=["retrieval", "spreads", "collapse"]).values
    exempt = {"std", "least_std"}
    for name in few.keys() - exempt:
        loose = {"ap": 2e-3, "auc": 1e-4, "probe": 0.1}
        assert many[name] == pytest.approx(few[name], abs=loose.get(name, 1e-6)), name
    spread = wide.std(axis=0)
    assert many["std"] == pytest.approx(spread.mean())
    assert many["least_std"] == pytest.approx(spread.min())


def fewer_visits_than_dimensions_agree_with_their_definitions(seed):
    """A lattice of 600 dimensions: 90 visits, of which half show what the others show."""
    visits = clouds.visits(seed, episodes=3)
    rng = np.random.default_rng(seed)
    z = rng.integers(256, size=(45, 600)).astype(np.uint8)[np.arange(90) % 45]
    found = values(visits, z, ["spreads", "collapse"])
    z = z.astype(float)
    positive, negative = clouds.all_pairs(visits)
    far = np.sum(z**2, axis=1)[:, None] + np.sum(z**2, axis=1) - 2 * z @ z.T
    assert found["lcr"] == pytest.approx(np.sqrt(far[positive].mean() / far[negative].mean()))
    means = np.stack([z[visits.label == p].mean(axis=0) for p in range(visits.count)])
    inside, centred = z - means[visits.label], z - z.mean(axis=0)
    freedom = (len(z) - 1) / (len(z) - visits.count)
    assert found["w"] == pytest.approx(np.sum(inside**2) / np.sum(centred**2) * freedom)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:44]
    white = (centred @ axes.T) @ np.linalg.inv(np.linalg.cholesky(np.cov((centred @ axes.T).T))).T
    assert found["w_whitened"] == pytest.approx(values(visits, white, ["spreads"])["w"])
    assert found["std"] == pytest.approx(z.std(axis=0).mean())
    assert found["least_std"] == pytest.approx(z.std(axis=0).min())
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert found["cosine"] == pytest.approx(cosines[~np.eye(90, dtype=bool)].mean())


def a_probe_of_wide_vectors_is_not_led_astray_by_faint_axes(seed):
    """240 visits, all different: of 239 axes two or three tell the place, the others are faint."""
    visits = clouds.visits(seed, places=4)
    rng = np.random.default_rng(seed)
    shown = rng.standard_normal((4, 600))[visits.label]
    z = shown + 0.2 * rng.standard_normal((len(visits), 600))
    assert values(visits, z, ["collapse"])["probe"] > 0.95


def an_outlier_makes_no_ties_of_all_others(seed):
    two_outliers_make_no_ties(seed, steps=30)


def two_outliers_make_no_ties(seed, steps):
    visits = clouds.visits(seed, steps=steps)
    z = clouds.cloud(visits, seed, within=0.3)
    plain = values(visits, z, ["retrieval"])
    z[[5, 17]] += 1e8
    found = values(visits, z, ["retrieval"])
    assert found["r1"] == pytest.approx(plain["r1"], abs=0.03)
    assert found["auc"] == pytest.approx(plain["auc"], abs=0.02)


def walks(seed, episodes=12, steps=80):
    """A random walk between walls, five cells."""
    environment = corridor(cells=5)
    rng = np.random.default_rng(seed)
    cells, taken = [], []
    for _ in range(episodes):
        cells.append(environment.reset(int(rng.integers(1000))).cell)
        for _ in range(steps - 1):
            taken.append(int(rng.integers(2)))
            cells.append(environment.step(taken[-1]).cell)
    pose = np.stack([np.array(cells), np.zeros(len(cells)), np.zeros(len(cells))], axis=1)
    return Visits(
        place=np.array(cells),
        episode=np.repeat(np.arange(episodes), steps),
        time=np.tile(np.arange(steps), episodes),
        nuisance={"light": rng.integers(3, size=len(cells))},
        actions=past_actions(np.array(taken), np.arange(0, len(cells) + 1, steps), 3),
        pose=pose.astype(float),
    )


LAWS = [
    m1_an_oracle_is_perfect,
    m2_a_constant_is_degenerate_and_scores_what_chance_scores,
    m3_rotation_scale_shift_and_padding_change_nothing,
    m4_shuffled_places_are_chance,
    m5_duplicated_visits_change_nothing,
    m6_noise_does_not_lower_lcr,
    m7_dead_reckoning_is_flagged,
    pairs_agree_with_their_definitions,
    w_agrees_with_its_definition,
    nuisances_agree_with_their_definitions,
    wide_vectors_measure_like_the_few_that_they_hold,
    fewer_visits_than_dimensions_agree_with_their_definitions,
    a_probe_of_wide_vectors_is_not_led_astray_by_faint_axes,
    an_outlier_makes_no_ties_of_all_others,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_holds(law):
    given(SEEDS)(law)()


@pytest.mark.parametrize("seed", range(2))  # a property of many probes takes its time
@pytest.mark.parametrize(
    "law", [m3_of_leakage, a_leak_is_read_however_faint, m8_leakage_is_what_is_put_in]
)
def test_it_holds_of_leakage(law, seed):
    law(seed)


def test_single_precision_agrees_with_double(monkeypatch):
    visits = clouds.visits(0, places=40, episodes=45, steps=100)
    z = clouds.cloud(visits, 0, light=0.5)
    single = values(visits, z, ["retrieval"])
    monkeypatch.setattr(retrieval, "_EXACT", 10_000)
    double = values(visits, z, ["retrieval"])
    assert len(visits) > 4096
    for name, value in double.items():
        assert single[name] == pytest.approx(value, abs=1e-3), name


def test_the_last_bits_of_a_constant_tell_nothing():
    """Am I in cell 0, by an encoder in float32 that is constant elsewhere but for round-off."""
    visits = clouds.visits(6, places=15, steps=60)
    rng = np.random.default_rng(6)
    shown = rng.standard_normal((15, 16))[visits.label].astype(np.float32)
    rounded = np.float32(1) + np.float32(2e-7) * shown  # 1, but for the last bits: they tell it
    assert len(np.unique(rounded, axis=0)) == 15
    z = np.hstack([rounded, (visits.label[:, None] == 0).astype(np.float32)])
    clean = z.copy()
    clean[:, :16] = 1
    found, plain = values(visits, z), values(visits, clean)
    for name in ("r1", "beats", "auc", "ap", "r100p"):
        assert found[name] == pytest.approx(plain[name], abs=1e-6), name
    assert found["beats"] < 0.2


def test_an_episode_that_is_far_out_is_measured_like_the_others():
    visits = clouds.visits(7, places=12, episodes=20)
    z = clouds.cloud(visits, 7, dimensions=16, within=0.3)
    z[visits.episode == 3] *= 300
    positive, negative = clouds.all_pairs(visits)
    far = np.where(positive | negative, clouds.squares(z), np.inf)
    nearest = far.argmin(axis=1)
    out = np.flatnonzero(visits.episode == 3)
    truly = visits.label[nearest[out]] == visits.label[out]
    assert truly.mean() > 0.6
    assert retrieval.retrieve(visits, z).easy.first[out] == pytest.approx(truly.astype(float))


def test_an_outlier_makes_no_ties_of_many_others():
    two_outliers_make_no_ties(3, steps=700)  # so many are else computed in float32


def test_faint_differences_are_told_apart_in_double_precision():
    visits = clouds.visits(4)
    z = np.hstack([clouds.cloud(visits, 4, within=0), 1e4 * (visits.label[:, None] % 2)])
    assert values(visits, z, ["retrieval"])["r1"] == pytest.approx(1.0)


def test_vectors_far_out_that_are_the_same_are_ties():
    visits = clouds.visits(5)
    z = clouds.cloud(visits, 5)
    out = np.arange(len(z)) % 20 == 0
    z[out] = 1e6 + 1 / 3
    found = retrieval.retrieve(visits, z).easy.first[out]
    positive, negative = (pairs[np.ix_(out, out)] for pairs in clouds.all_pairs(visits))
    asked = np.isfinite(found) & positive.any(axis=1)
    chance = positive.sum(axis=1) / np.maximum((positive | negative).sum(axis=1), 1)
    assert found[asked] == pytest.approx(chance[asked])


def test_blocks_and_tiles_are_no_part_of_the_answer(monkeypatch):
    visits = clouds.visits(5)
    z = clouds.cloud(visits, 5, light=0.5)
    whole = values(visits, z, ["retrieval"])
    monkeypatch.setattr(retrieval, "_ROWS", 7)
    monkeypatch.setattr(retrieval, "_COLUMNS", 16)
    assert values(visits, z, ["retrieval"]) == pytest.approx(whole)


def test_bins_move_the_area_by_no_more_than_is_said():
    visits = clouds.visits(1)
    z = clouds.cloud(visits, 1)
    positive, negative = clouds.all_pairs(visits)
    compared, far = positive | negative, clouds.squares(z)
    found = retrieval.retrieve(visits, z)
    exact = roc_auc_score(positive[compared], -far[compared])
    assert abs(found.auc - exact) <= found.auc_error < 1e-3
    assert found.ap == pytest.approx(
        average_precision_score(positive[compared], -far[compared]), abs=2e-3
    )


def test_whitened_w_weighs_directions_alike():
    visits = clouds.visits(2)
    z = clouds.cloud(visits, 2, within=0.3)
    stretched = z * np.array([1e3, 1, 1, 1, 1])
    plain, wide = values(visits, z), values(visits, stretched)
    assert wide["w_whitened"] == pytest.approx(plain["w_whitened"], rel=1e-6)
    alone = values(visits, z[:, :1])
    assert wide["w"] == pytest.approx(alone["w"], rel=1e-3)
    assert alone["w"] == pytest.approx(alone["w_whitened"])


def test_collapse_is_told_by_the_rank():
    visits = clouds.visits(3)
    rng = np.random.default_rng(3)
    full = rng.standard_normal((len(visits), 6))
    flat = full[:, :1] @ rng.standard_normal((1, 6))
    assert measure(visits, full, only=["collapse"]).values["rank"] > 5.8
    assert measure(visits, flat + 5.0, only=["collapse"]).values["rank"] == pytest.approx(
        1, abs=1e-3
    )
    wide = measure(visits, np.tile(flat, 2), only=["collapse"])
    assert wide.notes == ("z keeps to few of its 12 dimensions: rank 1",)
    assert not measure(visits, np.tile(full, 2), only=["collapse"]).notes
    uneven = np.tile([[1.0, 2.0], [1, -2], [-1, 2], [-1, -2]], (len(visits) // 4, 1))
    sizes = np.array([1, 2]) / 3  # singular values, not variances
    found = measure(visits, uneven, only=["collapse"])
    assert found.values["rank"] == pytest.approx(np.exp(-(sizes * np.log(sizes)).sum()))
    assert found.collapse.spectrum == pytest.approx((0.8, 0.2))
    one = measure(visits, np.ones((len(visits), 6)), only=["collapse"]).values
    assert (one["rank"], one["cosine"]) == (0.0, pytest.approx(1.0))
    known = measure(visits, controls.oracle(visits), only=["collapse"]).values
    assert known["probe"] == 1.0
    assert known["majority"] < 0.4


def test_what_is_not_asked_for_is_not_computed(monkeypatch):
    visits = clouds.visits(0)
    monkeypatch.setattr(spreads, "within_share", None)
    measure(visits, clouds.cloud(visits, 0), only=["retrieval", "leakage", "collapse"])


def test_drift_is_unknown_where_nothing_is_apart():
    """Loops that do not move are no drift of 0 then: there is nothing to measure them by."""
    visits = clouds.visits(0, view=np.zeros(240, int))  # all places look alike
    z = controls.oracle(visits)
    alone = spreads.apart_squares(visits, z)
    assert alone.count == 0
    found = spreads.drift(visits, z, alone.mean)
    assert len(found.lengths) >= 3
    assert np.isnan(found.slope)
    apart = clouds.visits(0)
    still = controls.oracle(apart)
    assert spreads.drift(apart, still, spreads.apart_squares(apart, still).mean).slope == 0.0


def test_vectors_in_every_direction_have_no_whitened_w():
    visits = clouds.visits(0, episodes=3)
    z = np.random.default_rng(0).standard_normal((90, 300))
    found = values(visits, z, ["spreads"])
    assert found["w"] is not None
    assert found["w_whitened"] is None


def test_many_unlike_frames_are_projected_and_still_described_as_they_are():
    visits = clouds.visits(4)
    frames = np.random.default_rng(4).integers(256, size=(len(visits), 500)).astype(np.uint8)
    only = ["spreads", "collapse"]
    exact = measure(visits, frames, only=only).values
    found = measure(visits, frames, only=only, exact=100).values
    assert [found[name] for name in ("std", "least_std", "cosine")] == [
        exact[name] for name in ("std", "least_std", "cosine")
    ]
    assert found["std"] < 127.5
    assert found["lcr"] == pytest.approx(exact["lcr"], abs=0.1)
    assert found["lcr"] != exact["lcr"]


def test_a_place_probe_takes_places_that_it_was_trained_on():
    visits = clouds.visits(6, places=40, episodes=8, steps=10)
    few = clouds.visits(6, places=400, episodes=8, steps=10, tau=0)
    z = controls.oracle(few)
    found = measure(few, z, only=["collapse"])
    assert found.values["probe"] is found.values["majority"] is None
    assert found.collapse.known < 0.5
    assert found.notes[-1].startswith(f"no place probe: {found.collapse.known:.0%} of the visits")
    enough = measure(visits, controls.oracle(visits), only=["collapse"])
    assert 0.5 < enough.collapse.known < 1
    held = visits.episode % 2 == 0
    share = np.mean([p in visits.label[~held] for p in visits.label[held]])
    assert enough.collapse.known == pytest.approx(share)
    assert enough.values["probe"] <= enough.collapse.known
    assert not any("place probe" in note for note in enough.notes)


# Planted mistakes ---------------------------------------------------------------------------------

MUTANTS = {
    "ties by index": (
        retrieval,
        "left, missed * wrong / among, missed)",
        "left, missed * (self.level > left), missed)",
        m2_a_constant_is_degenerate_and_scores_what_chance_scores,
    ),
    "the query itself is its revisit": (
        retrieval,
        "episode[None, columns]\n            late",
        "episode[None, columns]\n            other |= True\n            late",
        pairs_agree_with_their_definitions,
    ),
    "no window of time": (
        retrieval,
        "> self.tau",
        "> 0",
        pairs_agree_with_their_definitions,
    ),
    "hard within the episode": (
        retrieval,
        "found = self.episode[start:stop, None] != self.episode[None, columns]",
        "found = np.ones((stop - start, len(self.episode[columns])), bool)",
        pairs_agree_with_their_definitions,
    ),
    "hard with the same nuisance": (
        retrieval,
        "found &= code",
        "found | code",
        pairs_agree_with_their_definitions,
    ),
    "near places count": (
        retrieval,
        "if self.near is not None:\n                for",
        "if False:\n                for",
        pairs_agree_with_their_definitions,
    ),
    "identical frames count": (
        retrieval,
        "if view >= 0:\n                block",
        "if False:\n                block",
        pairs_agree_with_their_definitions,
    ),
    "level counts as nearer": (
        retrieval,
        "squares < right - tie",
        "squares < right + tie",
        pairs_agree_with_their_definitions,
    ),
    "pairs above the diagonal once": (
        retrieval,
        "2 * bins.counted(above)",
        "bins.counted(above)",
        pairs_agree_with_their_definitions,
    ),
    "level in the area is lost": (
        retrieval,
        "+ level / 2",
        "+ 0 * level",
        m2_a_constant_is_degenerate_and_scores_what_chance_scores,
    ),
    "outliers set the unit": (
        retrieval,
        "lengths <= np.quantile(lengths, _NEAR)",
        "lengths <= lengths.max()",
        an_outlier_makes_no_ties_of_all_others,
    ),
    "W without its degrees of freedom": (
        spreads,
        "inside / (count - places)",
        "inside / (count - 1)",
        m4_shuffled_places_are_chance,
    ),
    "W whitened by its own spread": (
        spreads,
        "np.linalg.eigh(total)",
        "np.linalg.eigh(within)",
        w_agrees_with_its_definition,
    ),
    "LCR without its root": (
        spreads,
        "np.sqrt(revisits.mean / apart.mean)",
        "(revisits.mean / apart.mean)",
        pairs_agree_with_their_definitions,
    ),
    "LCR is not relative": (
        spreads,
        "np.sqrt(revisits.mean / apart.mean)",
        "np.sqrt(revisits.mean)",
        m3_rotation_scale_shift_and_padding_change_nothing,
    ),
    "LCR counts neighbours in time": (
        spreads,
        "        total -= float(np.sum((z[rows + shift] - z[rows]) ** 2))\n",
        "",
        pairs_agree_with_their_definitions,
    ),
    "LCR counts duplicates": (
        spreads,
        "<= visits.tau\n        if",
        "< 0\n        if",
        m5_duplicated_visits_change_nothing,
    ),
    "every column is scaled by its own spread": (
        libraries,
        "return (x - self._mean) / self._scale",
        "return (x - self._mean) / np.maximum(x.std(axis=0), 1e-9)",
        a_probe_of_wide_vectors_is_not_led_astray_by_faint_axes,
    ),
    "noise fills what is empty": (
        leakage,
        "values > _ROUNDED * values[-1]",
        "values > -1.0",
        m3_of_leakage,
    ),
    "z is not scaled within places": (
        leakage,
        "(_scaled_within(visits, z), _SCALED_STRENGTHS)",
        "(z, _SCALED_STRENGTHS)",
        a_leak_is_read_however_faint,
    ),
    "z is scaled within places alone": (
        leakage,
        "((z, _STRENGTHS), (_scaled_within(visits, z), _SCALED_STRENGTHS))",
        "((_scaled_within(visits, z), _SCALED_STRENGTHS),)",
        a_leak_is_read_however_faint,
    ),
    "turned axes are of one length": (
        narrow,
        "left[:, kept] * sizes[kept]",
        "left[:, kept] * sizes[0]",
        fewer_visits_than_dimensions_agree_with_their_definitions,
    ),
    "half of the axes are lost": (
        narrow,
        "sizes > _ROUND_OFF * sizes[0]",
        "sizes > np.median(sizes)",
        fewer_visits_than_dimensions_agree_with_their_definitions,
    ),
    "dimensions are described as they were turned": (
        spreads,
        "std = deviations(z)",
        "std = deviations(turned)",
        wide_vectors_measure_like_the_few_that_they_hold,
    ),
    "drift against the index": (
        spreads,
        "np.log(lengths)[moved]",
        "np.arange(len(lengths))[moved]",
        m7_dead_reckoning_is_flagged,
    ),
    "reckoning of everything": (
        controls,
        "z - group_means(z, label)[label]",
        "z - z.mean(axis=0)",
        m7_dead_reckoning_is_flagged,
    ),
    "probes are judged on what they saw": (
        leakage,
        "train, test = fold != held, fold == held",
        "train, test = fold != held, fold != held",
        m8_leakage_is_what_is_put_in,
    ),
    "probes do not know the place": (
        leakage,
        "places, starts = np.unique(visits.label[order], return_index=True)",
        "places, starts = np.unique(0 * visits.label[order], return_index=True)",
        m8_leakage_is_what_is_put_in,
    ),
    "natural logarithms": (
        leakage,
        "np.log2(p[np",
        "np.log(p[np",
        m8_leakage_is_what_is_put_in,
    ),
    "noise is forgotten": (
        leakage,
        "noisy = z + NOISE",
        "noisy = z + 0 * NOISE",
        m8_leakage_is_what_is_put_in,
    ),
    "magnitudes at all places": (
        leakage,
        "cell = visits.label * count + level",
        "cell = 0 * visits.label * count + level",
        nuisances_agree_with_their_definitions,
    ),
}


def plant(patch, module: ModuleType, old: str, new: str) -> None:
    """A module with one text for another, wherever its functions are used."""
    text = inspect.getsource(module)
    assert text.count(old) == 1, f"{module.__name__} has {text.count(old)} times: {old}"
    names = dict(vars(module))
    exec(compile(text.replace(old, new), f"<mutant of {module.__name__}>", "exec"), names)
    for holder in (controls, leakage, measured, retrieval, spreads):
        for name, value in list(vars(holder).items()):
            own = inspect.isfunction(value) or inspect.isclass(value)
            if own and value.__module__ == module.__name__:
                patch.setattr(holder, name, names[name])


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_mistake_is_found(name, monkeypatch):
    module, old, new, law = MUTANTS[name]
    plant(monkeypatch, module, old, new)
    assert fails(law), f"no seed of {law.__name__} finds it"


def fails(law: Callable[[int], None]) -> bool:
    for seed in range(8):
        try:
            law(seed)
        except (AssertionError, FloatingPointError):
            KILLS.append((law.__name__.partition("_")[0].upper(), seed + 1))
            return True
    return False


# M13 ----------------------------------------------------------------------------------------------


def isolated(target_scale: float | None) -> lr.Spec:
    """A regulariser on z; and, if asked for, a JEPA term whose two sides are stopped."""
    s = lr.Spec("isolated")
    x = s.observation("x", (4,))
    encoder = s.module("encoder", lr.nn.linear(4, 3))
    predictor = s.module("predictor", lr.nn.linear(3, 3))
    z = s.latent("z", encoder(x), role=lr.PLACE)
    s.loss("regulariser", lr.losses.mse(z, lr.tanh(z.stop())))
    if target_scale is not None:
        later = target_scale * z.t[1:].stop()
        s.loss("jepa", lr.losses.mse(predictor(z.t[:-1].stop()), later))
    return s


class Walks:
    def batch(self, step):
        rng = np.random.default_rng(step)
        return {"x": rng.standard_normal((4, 5, 4)).astype(np.float32)}


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_m13_an_isolated_loss_leaves_the_encoder_bitwise_alone(backend, tmp_path):
    found = {}
    for scale in (None, 1.0, -3.0):
        result = lr.train(
            isolated(scale),
            Walks(),
            backend=backend,
            steps=5,
            out=tmp_path / str(scale),
            optimisers={"default": lr.adamw(1e-2)},
        )
        found[scale] = lr.weights(result.model)["encoder"]
    for scale in (1.0, -3.0):
        for path, array in found[None].items():
            assert np.array_equal(found[scale][path], array)
