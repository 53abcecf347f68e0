"""Who answers better, from votes between two: win rates, Elo's ratings, Bradley and Terry's.

A vote is (winner, loser), or (first, second, score) with the first one's score: 1 if it won, 0 if
it lost, 0.5 for a draw.

    elo([("a", "b")])                     # {"a": 1016.0, "b": 984.0}: the order of votes matters
    bradley_terry(votes)                  # the order does not: the likeliest strengths
    bradley_terry_intervals(votes)        # the same with 95 % intervals
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .intervals import Interval

__all__ = ["bradley_terry", "bradley_terry_intervals", "elo", "win_rates"]

Vote = Sequence[Any]
SCALE = 400 / math.log(10)  # 400 points more: ten wins for one loss
MIDDLE = 1000.0  # the mean rating


def _read(votes: Iterable[Vote]) -> list[tuple[Any, Any, float]]:
    """(first, second, score of the first) of each vote.

    Raises: ValueError for a vote of another form, with its number, and if there are none.
    """
    read = []
    for i, vote in enumerate(votes):
        if isinstance(vote, str) or len(vote) not in (2, 3):
            raise ValueError(f"vote {i} should be (winner, loser) or (a, b, score), got {vote!r}")
        first, second, score = (*vote, 1.0)[:3]
        if not 0.0 <= float(score) <= 1.0:
            raise ValueError(f"vote {i}: the score is 1, 0.5 or 0, got {score!r}")
        if first == second:
            raise ValueError(f"vote {i} is between {first!r} and itself")
        read.append((first, second, float(score)))
    if not read:
        raise ValueError("there are no votes")
    return read


def win_rates(votes: Iterable[Vote]) -> dict[Any, float]:
    """The share of its votes that each player won, a draw as half: 0 to 1.

    Raises: ValueError for a vote of another form, or none.
    """
    won: dict[Any, float] = {}
    times: dict[Any, int] = {}
    for first, second, score in _read(votes):
        for name, points in ((first, score), (second, 1 - score)):
            won[name] = won.get(name, 0.0) + points
            times[name] = times.get(name, 0) + 1
    return {name: won[name] / times[name] for name in won}


def elo(votes: Iterable[Vote], k: float = 32.0, start: float = 1000.0) -> dict[Any, float]:
    """Elo's ratings after the votes, one after another: the last votes count most.

        expected = 1 / (1 + 10^((R_second − R_first) / 400));  R_first += k·(score − expected)

    Source: Elo (1978), "The Rating of Chessplayers, Past and Present".
    Raises: ValueError for a vote of another form, or none.
    """
    ratings: dict[Any, float] = {}
    for first, second, score in _read(votes):
        a, b = ratings.setdefault(first, start), ratings.setdefault(second, start)
        expected = 1 / (1 + 10 ** ((b - a) / 400))
        ratings[first] = a + k * (score - expected)
        ratings[second] = b - k * (score - expected)
    return ratings


def _table(votes: Iterable[Vote]) -> tuple[list[Any], np.ndarray]:
    """The players in the order in which they appear, and wins[i, j]: how often i won against j."""
    read = _read(votes)
    names = list(dict.fromkeys(name for vote in read for name in vote[:2]))
    place = {name: i for i, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for first, second, score in read:
        wins[place[first], place[second]] += score
        wins[place[second], place[first]] += 1 - score
    return names, wins


def _is_connected(wins: np.ndarray) -> bool:
    """Whether everybody won against everybody, perhaps by way of others: then strengths exist."""
    reach = (wins > 0) | np.eye(len(wins), dtype=bool)
    for _ in range(max(1, len(wins).bit_length())):
        reach = reach @ reach
    return bool(reach.all())


def _strengths(wins: np.ndarray) -> np.ndarray:
    """ln of the likeliest strengths, mean 0, by Newton's method: wins (P, P) -> (P).

    P(i wins against j) = 1 / (1 + e^(s_j − s_i)); the log-likelihood is concave.
    """
    games = wins + wins.T
    s = np.zeros(len(wins))
    for _ in range(100):
        p = 1 / (1 + np.exp(s[None] - s[:, None]))  # (P, P)
        gradient = (wins - games * p).sum(1)
        weight = games * p * p.T
        hessian = np.diag(weight.sum(1)) - weight + 1 / len(wins)  # + 1/P: the mean stays
        step = np.linalg.solve(hessian, gradient)
        s = s + step * min(1.0, 2.0 / max(1e-300, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-12:
            break
    return s - s.mean()


def bradley_terry(votes: Iterable[Vote]) -> dict[Any, float]:
    """The ratings under which these votes are likeliest, mean 1000; 400 more: ten wins to one.

    Source: Bradley and Terry (1952), "Rank analysis of incomplete block designs".
    Raises: ValueError for a vote of another form, or none; if no finite ratings are the likeliest,
    because somebody only won, only lost, or has not met the others.
    """
    names, wins = _table(votes)
    if not _is_connected(wins):
        raise ValueError(
            "the ratings have no limit: each player must win and lose at least once against the "
            "others, directly or by way of some; collect more votes, or take elo"
        )
    return _rated(names, _strengths(wins))


def _rated(names: Sequence[Any], strengths: np.ndarray) -> dict[Any, float]:
    return dict(zip(names, (MIDDLE + SCALE * strengths).tolist(), strict=True))


def bradley_terry_intervals(
    votes: Sequence[Vote], level: float = 0.95, samples: int = 1000, seed: int = 0
) -> dict[Any, Interval]:
    """`bradley_terry` with intervals by the bootstrap: votes are drawn anew from the votes.

    Where a draw has no finite ratings, half a win in both directions is added to each pair that has
    met.
    Raises: ValueError as bradley_terry; for a level outside of (0, 1) or no samples.
    """
    if not 0 < level < 1 or samples < 1:
        raise ValueError(f"level must be in (0, 1) and samples 1 or more, got {level}, {samples}")
    read = _read(votes)
    ratings = bradley_terry(read)
    names, met = _table(read)
    met = ((met + met.T) > 0) * 0.5
    place = {name: i for i, name in enumerate(names)}
    pairs = np.array([(place[a], place[b]) for a, b, _ in read])  # (votes, 2)
    scores = np.array([score for _, _, score in read])
    random = np.random.default_rng(seed)
    drawn = np.empty((samples, len(names)))
    for each in drawn:
        rows = random.integers(0, len(read), len(read))
        wins = np.zeros_like(met)
        np.add.at(wins, tuple(pairs[rows].T), scores[rows])
        np.add.at(wins, tuple(pairs[rows, ::-1].T), 1 - scores[rows])
        each[:] = _strengths(wins if _is_connected(wins) else wins + met)
    tail = (1 - level) / 2
    low, high = np.quantile(MIDDLE + SCALE * drawn, (tail, 1 - tail), axis=0).tolist()
    return {name: Interval(ratings[name], low[i], high[i], level) for i, name in enumerate(names)}
