"""Which values a trial has: drawn at random, from a grid, or by optuna's TPE."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...files.packages import importing, install_extra
from ...files.untrusted import describe
from ..options import OptionError
from .options import SearchOptions
from .space import Choice, Space

__all__ = ["propose", "rounds_of", "tpe"]

Known = list[tuple[dict[str, Any], float]]


def propose(space: Space, options: SearchOptions, number: int) -> dict[str, Any]:
    """The values of a trial, by its number from 0; they depend on that and the seed alone.

    strategy: random and halving draw, grid counts
    """
    if options.strategy == "grid":
        return space.grid(options.points)[number]
    return space.draw(np.random.default_rng([options.search_seed, number]))


def tpe(space: Space, options: SearchOptions, number: int, known: Known) -> dict[str, Any]:
    """The values that optuna's tree-structured Parzen estimator proposes (Bergstra et al., 2011).

    known: values and scores (lower is better) of the trials before; after the same ones and with
    the same number the proposal is the same
    Raises: MissingPackage without optuna.
    """
    install = f"{install_extra('search')}; random, grid and halving do without"
    with importing("strategy tpe needs optuna", install):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds: dict[str, Any] = {}
    for name, each in space.searched.items():
        if isinstance(each, Choice):
            kinds[name] = optuna.distributions.CategoricalDistribution(each.values)
        elif each.whole:
            kinds[name] = optuna.distributions.IntDistribution(
                int(each.low), int(each.high), log=each.log
            )
        else:
            kinds[name] = optuna.distributions.FloatDistribution(each.low, each.high, log=each.log)
    seed = (options.search_seed + number) % 2**32
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    for values, score in known:
        study.add_trial(optuna.trial.create_trial(params=values, distributions=kinds, value=score))
    params: dict[str, Any] = study.ask(kinds).params
    return params


def rounds_of(trials: int, steps: int, eta: int, first_steps: int | None) -> list[tuple[int, int]]:
    """(trials, steps) of each round of successive halving (Jamieson and Talwalkar, 2016).

    Of each round one trial of eta goes on, and makes eta times the steps; the last round makes all.
    first_steps: of the first round; None: so that one trial is left at the end, at least one step
    Raises: OptionError if the first round has more steps than there are.
    """
    if first_steps is None:
        n = math.floor(math.log(trials, eta) + 1e-9)
    elif first_steps > steps:
        raise OptionError(f"`first_steps` {describe(first_steps)} is more than `steps` {steps}")
    else:
        n = math.floor(math.log(steps / first_steps, eta) + 1e-9)
    rounds: list[tuple[int, int]] = []
    for k in range(n + 1):
        made = max(1, round(steps / eta ** (n - k)))
        left = max(1, math.ceil(trials / eta**k - 1e-9))
        if rounds and rounds[-1][1] == made:
            rounds.pop()
        rounds.append((left, made))
    return rounds
