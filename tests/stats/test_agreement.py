from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from evalkit.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha, ordinal_distances

NO = -1
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: 4 observers, 12 units.
EXAMPLE_C = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NO, NO, NO],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NO, 3],
        [NO, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NO],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NO],
    ]
).T
# Fleiss 1971 as worked out on Wikipedia: 10 subjects, 14 raters, 5 categories; kappa 0.210.
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def random_table(seed: int, raters: int | None = None, gaps: float = 0.33) -> np.ndarray[Any, Any]:
    """Labels that agree somewhat, with up to this share of the cells missing."""
    rng = np.random.default_rng(seed)
    items, k = int(rng.integers(8, 60)), int(rng.integers(2, 7))
    raters = raters or int(rng.integers(2, 6))
    truth = rng.integers(0, k, items)
    table = np.where(rng.random((items, raters)) < 0.6, truth[:, None], rng.integers(0, k, (items, raters)))
    table[rng.random((items, raters)) < rng.uniform(0, gaps)] = NO
    return table


def nan_table(table: np.ndarray[Any, Any], values: Any = None) -> Any:
    numbers = np.arange(100) if values is None else np.asarray(values)
    return np.where(table >= 0, numbers[table], np.nan).T


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_equals_krippendorff_on_random_tables_with_gaps(level: Any) -> None:
    import krippendorff

    for seed in range(60):
        table = random_table(seed)
        values = np.cumsum(np.random.default_rng(seed).integers(1, 9, 100)) - 40.5  # uneven steps
        found = krippendorff_alpha(table, values.tolist(), level=level, resamples=2)
        expected = krippendorff.alpha(
            reliability_data=nan_table(table, values), level_of_measurement=level, dtype=np.float64
        )
        assert found.value == pytest.approx(expected, abs=1e-9), seed


def test_cohen_equals_scikit_learn_on_random_tables_with_gaps() -> None:
    from sklearn.metrics import cohen_kappa_score

    for seed in range(60):
        table = random_table(seed, raters=2)
        both = table[(table >= 0).all(1)]
        for weights in (None, "linear", "quadratic"):
            found = cohen_kappa(table[:, 0], table[:, 1], weights=weights, resamples=2)  # type: ignore[arg-type]
            labels = np.arange(both.max() + 1)
            expected = cohen_kappa_score(both[:, 0], both[:, 1], weights=weights, labels=labels)
            assert found.value == pytest.approx(expected, abs=1e-9), (seed, weights)


def test_fleiss_equals_statsmodels_on_random_tables_with_gaps() -> None:
    from statsmodels.stats.inter_rater import aggregate_raters
    from statsmodels.stats.inter_rater import fleiss_kappa as reference

    left_out = 0
    for seed in range(60):
        table = random_table(seed, gaps=0.2)
        complete = table[(table >= 0).all(1)]
        found, items = fleiss_kappa(table, resamples=2)
        assert items == len(complete)
        left_out += len(table) - items
        assert found.value == pytest.approx(reference(aggregate_raters(complete)[0]), abs=1e-9), seed
    assert left_out > 300


def test_fleiss_where_everybody_has_a_share() -> None:
    """Two of four raters an item: equally many labels, so it is Fleiss' own formula, which statsmodels has."""
    from statsmodels.stats.inter_rater import fleiss_kappa as reference

    rng = np.random.default_rng(3)
    table = np.full((40, 4), NO)
    for row in table:
        row[rng.choice(4, 2, replace=False)] = (
            rng.integers(0, 3) if rng.random() < 0.5 else rng.integers(0, 3, 2)
        )
    counts = np.stack([(table == label).sum(1) for label in range(3)], axis=1)
    found, items = fleiss_kappa(table, resamples=2)
    assert items == 40
    assert found.value == pytest.approx(reference(counts), abs=1e-9)


def test_published_examples() -> None:
    levels = {"nominal": 0.743, "ordinal": 0.815, "interval": 0.849}
    for level, expected in levels.items():
        found = krippendorff_alpha(EXAMPLE_C, level=level, resamples=2)  # type: ignore[arg-type]
        assert found.value == pytest.approx(expected, abs=5e-4)
    table = np.array([np.repeat(np.arange(5), counts) for counts in FLEISS])
    assert fleiss_kappa(table, resamples=2)[0].value == pytest.approx(0.210, abs=5e-4)
    first, second = np.repeat([0, 0, 1, 1], [45, 15, 25, 15]), np.repeat([0, 1, 0, 1], [45, 15, 25, 15])
    assert cohen_kappa(first, second, resamples=2).value == pytest.approx(
        0.1304, abs=5e-5
    )  # Wikipedia, table 2


def test_what_cannot_be_said_is_none() -> None:
    same = np.zeros((5, 2), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in (
            krippendorff_alpha(same),
            krippendorff_alpha(same, level="ordinal"),
            krippendorff_alpha(same, [3.0], level="interval"),
            cohen_kappa(same[:, 0], same[:, 1]),
            fleiss_kappa(same)[0],
            krippendorff_alpha(np.array([[0, NO], [NO, 1]])),
        ):
            assert (found.value, found.low, found.high) == (None, None, None)


def test_complete_agreement_has_a_low_end() -> None:
    table = np.array([[0, 0], [1, 1]] * 10)
    found = krippendorff_alpha(table)
    assert (found.value, found.high, found.method) == (1.0, 1.0, "wilson")
    assert found.low == pytest.approx(0.8389, abs=5e-5)  # Wilson of 20 in 20
    interval = krippendorff_alpha(table, [0.1, 0.3], level="interval")
    assert interval == found


def test_many_labels_at_ordinal_level_stay_within_memory() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 101, 120)
    table = np.clip(truth[:, None] + rng.integers(-9, 10, (120, 3)), 0, 100)
    found = krippendorff_alpha(table, level="ordinal", resamples=400)
    assert found.low is not None
    assert found.value is not None
    assert 0.9 < found.low < found.value < 1


def test_ordinal_distances_by_hand() -> None:
    # Krippendorff 2004: (Σ n_g from c to k − (n_c + n_k)/2)²; labels 3, 0, 5: c=0, k=2: (8 − 4)² = 16
    assert ordinal_distances(np.array([3.0, 0.0, 5.0]))[0, 2] == 16.0


def sampled(rng: np.random.Generator, items: int) -> np.ndarray[Any, Any]:
    """Three raters who give the item's label with 0.8, else one of three at random: alpha 0.64, see below."""
    truth = rng.integers(0, 3, items)
    return np.where(rng.random((items, 3)) < 0.8, truth[:, None], rng.integers(0, 3, (items, 3)))


def test_intervals_over_items_cover() -> None:
    """Two raters agree with 0.64 + 0.36/3 = 0.76, by chance 1/3: kappa = alpha = (0.76 − 1/3)/(2/3) = 0.64."""
    rng = np.random.default_rng(11)
    hits = np.zeros(3)
    for seed in range(300):
        table = sampled(rng, 100)
        table[rng.random(table.shape) < 0.1] = NO
        found = (
            krippendorff_alpha(table, resamples=600, seed=seed),
            fleiss_kappa(table, resamples=600, seed=seed)[0],
            cohen_kappa(table[:, 0], table[:, 1], resamples=600, seed=seed),
        )
        hits += [each.low <= 0.64 <= each.high for each in found]  # type: ignore[operator]
    assert (hits / 300 >= 0.92).all()  # 95 % with its sampling error at 300 runs: ±2.5 points
    assert (hits / 300 <= 0.98).all()


def test_intervals_over_samples_cover_where_answers_of_one_depend_on_each_other() -> None:
    """40 samples with four answers each; on half of the samples raters hardly agree about any of them."""

    def draw(samples: int) -> Any:
        spread = np.where(rng.random(samples) < 0.5, 0.2, 1.6)[:, None, None]
        worth = rng.normal(3, 1, samples)[:, None] + rng.normal(0, 0.4, (samples, 4))
        said = worth[:, :, None] + spread * rng.normal(size=(samples, 4, 2))
        return np.clip(np.rint(said), 1, 5).astype(np.int64).reshape(-1, 2) - 1

    rng = np.random.default_rng(5)
    many = draw(50_000)
    truths = (
        krippendorff_alpha(many, level="interval", resamples=1).value,
        fleiss_kappa(many, resamples=1)[0].value,
    )
    clusters = [str(row // 4) for row in range(160)]
    hits = np.zeros((2, 2))  # clustered, not; alpha, kappa
    for seed in range(300):
        table = draw(40)
        for way, named in enumerate((clusters, None)):
            alpha = krippendorff_alpha(table, level="interval", clusters=named, resamples=600, seed=seed)
            kappa, _ = fleiss_kappa(table, clusters=named, resamples=600, seed=seed)
            found = zip((alpha, kappa), truths, strict=True)
            hits[way] += [each.low <= truth <= each.high for each, truth in found]
    assert (hits[0] / 300 >= 0.92).all()
    assert (hits[1] / 300 < 0.9).all()  # what taking answers for independent would give
