from __future__ import annotations

import numpy as np
import pytest

from evalkit.stats.ranking import Game, fit_davidson, rank_candidates

# Stigler 1994: citations of statistics journals; the model's fit in Turner and Firth 2012 (BradleyTerry2), table.
CITATIONS = {
    ("Biometrika", "Comm Statist"): (730, 33),
    ("Biometrika", "JASA"): (498, 320),
    ("Biometrika", "JRSS-B"): (221, 284),
    ("Comm Statist", "JASA"): (68, 813),
    ("Comm Statist", "JRSS-B"): (17, 276),
    ("JASA", "JRSS-B"): (142, 325),
}
PUBLISHED = {"Comm Statist": -2.94907, "JASA": -0.47957, "JRSS-B": 0.26895}  # against Biometrika


def test_the_published_ranking_of_journals() -> None:
    games = [
        Game(f"{first}/{second}", first, second, points, weight)
        for (first, second), counts in CITATIONS.items()
        for points, weight in zip((1.0, 0.0), counts, strict=True)
    ]
    found = {rating.candidate: rating for rating in rank_candidates(games, resamples=50).ratings}
    for name, expected in PUBLISHED.items():
        gap = found[name].strength - found["Biometrika"].strength  # type: ignore[operator]
        assert gap == pytest.approx(expected, abs=1e-5)
    assert [found[name].rank for name in ("JRSS-B", "Biometrika", "JASA", "Comm Statist")] == [1, 2, 3, 4]


def davidson(rng: np.random.Generator, a: float, b: float, tie: float) -> float:
    shares = np.exp([a, b, np.log(tie) + (a + b) / 2])
    return float(rng.choice([1.0, 0.0, 0.5], p=shares / shares.sum()))


@pytest.mark.parametrize("seed", range(5))
def test_ties_equal_a_poisson_model_of_statsmodels(seed: int) -> None:
    """Davidson's model is log-linear: Poisson counts with one intercept a pair (Critchlow and Fligner 1991)."""
    import statsmodels.api as sm

    rng = np.random.default_rng(seed)
    m = 4
    wins, ties = np.zeros((m, m)), np.zeros((m, m))
    design, counts = [], []
    for pair, (i, j) in enumerate(zip(*np.tril_indices(m, -1), strict=True)):
        seen = rng.integers(1, 30, 3)
        wins[i, j], wins[j, i] = seen[:2]
        ties[i, j] = ties[j, i] = seen[2]
        for outcome, count in enumerate(seen):
            row = np.zeros(6 + m)
            row[pair] = 1
            share = {0: [(i, 1.0)], 1: [(j, 1.0)], 2: [(i, 0.5), (j, 0.5)]}[outcome]
            for who, much in share:
                if who:  # candidate 0 is the reference
                    row[5 + who] = much
            row[-1] = outcome == 2
            design.append(row)
            counts.append(count)
    fit = sm.GLM(counts, np.array(design), family=sm.families.Poisson()).fit(tol=1e-13)
    strengths, tie = fit_davidson(wins[None], ties[None])
    assert strengths[0, 1:] - strengths[0, 0] == pytest.approx(fit.params[6 : 5 + m], abs=1e-8)
    assert np.log(tie[0]) == pytest.approx(fit.params[-1], abs=1e-8)


def test_intervals_over_prompts_cover_where_games_hang_together() -> None:
    """Planted strengths. Both orders of a pair on one prompt mostly agree, so games are worth half of what they seem:
    an interval over games would cover about 83 %."""
    rng = np.random.default_rng(5)
    truth = np.array([0.8, 0.2, -0.2, -0.8])
    hits = np.zeros(4)
    for seed in range(200):
        games = []
        for prompt in range(60):
            for i in range(4):
                for j in range(i):
                    points = davidson(rng, truth[i], truth[j], 0.6)
                    again = points if rng.random() < 0.9 else davidson(rng, truth[i], truth[j], 0.6)
                    games += [
                        Game(str(prompt), f"c{i}", f"c{j}", points),
                        Game(str(prompt), f"c{j}", f"c{i}", 1 - again),
                    ]
        found = rank_candidates(games, resamples=400, seed=seed)
        for rating in found.ratings:
            place = int(rating.candidate[1])
            hits[place] += rating.low <= truth[place] <= rating.high  # type: ignore[operator]
    assert 0.93 <= hits.sum() / 800 <= 0.97


def test_who_wins_everything_has_no_upper_limit() -> None:
    games = [Game(str(i), "top", other, 1.0) for i in range(20) for other in ("a", "b")]
    games += [Game(str(i), "a", "b", 1.0 if i % 3 else 0.5) for i in range(20)]
    games += [Game("x", "b", "a", 1.0)]
    found = rank_candidates(games, resamples=200)
    top, a, b = found.ratings
    assert (top.candidate, top.rank, top.strength, top.low, top.wins) == ("top", 1, None, None, 40.0)
    assert (a.candidate, a.rank, a.group, b.group) == ("a", 2, 2, 2)
    assert a.strength == pytest.approx(-b.strength)  # type: ignore[operator]
    assert "top won every game against a and b (no ties either)" in found.notes[0]


def test_who_never_met_does_not_compare() -> None:
    games = [Game(str(i), "a", "b", float(i % 2)) for i in range(10)]
    games += [Game(str(i), "c", "d", 1.0 if i % 3 else 0.0) for i in range(10)]
    found = rank_candidates(games, resamples=200)
    assert {rating.group for rating in found.ratings} == {1, 2}
    assert "No games connect" in found.notes[0]
    assert len(found.notes) == 1


def test_only_ties_and_one_prompt() -> None:
    found = rank_candidates([Game(str(i), "a", "b", 0.5) for i in range(8)], resamples=100)
    assert [rating.strength for rating in found.ratings] == pytest.approx([0.0, 0.0])
    one = rank_candidates([Game("p", "a", "b", 1.0), Game("p", "b", "a", 1.0)], resamples=100)
    assert [(rating.low, rating.high) for rating in one.ratings] == [(None, None)] * 2


def test_few_games_that_sometimes_separate_say_so() -> None:
    games = [Game(str(i), "a", "b", 0.0 if i == 0 else 1.0) for i in range(12)]
    found = rank_candidates(games, resamples=500)
    assert "the outer ends of the intervals are rough" in found.notes[0]
    assert found.ratings[0].high > found.ratings[0].strength > 0  # type: ignore[operator]


def test_ranks_have_intervals() -> None:
    rng = np.random.default_rng(1)
    truth = {"a": 1.5, "b": 0.0, "c": 0.0}
    games = [
        Game(str(prompt), first, second, davidson(rng, truth[first], truth[second], 0.3))
        for prompt in range(80)
        for first, second in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    found = {rating.candidate: rating for rating in rank_candidates(games, resamples=500).ratings}
    assert (found["a"].rank, found["a"].rank_low, found["a"].rank_high) == (1, 1, 1)
    assert {found["b"].rank_low, found["c"].rank_high} == {2, 3}


@pytest.mark.parametrize("game", [Game("1", "a", "a", 1.0), Game("1", "a", "b", 0.7)])
def test_games_that_are_none(game: Game) -> None:
    with pytest.raises(ValueError, match=r"two candidates and points 0, 0\.5 or 1"):
        rank_candidates([game])
