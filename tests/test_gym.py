"""Questions of reasoning-gym: right by another way to compute them, and the package left as it was.

The package is looked for, not imported: alone (pip install --no-deps) it cannot be imported whole.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec

import pytest

from tinygrad_llm.cli import main
from tinygrad_llm.finetune.reasoning import gym, is_right, make_questions
from tinygrad_llm.finetune.reasoning.gym import GYM, INSTALL, gym_questions

needs_gym = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason=INSTALL)


def right_answer(task, question):
    """The answer of a question, from its words."""
    if task == "letter-counting":
        letter, text = re.search(r'letter "(.)" .*text: "(.*)"', question).groups()
        return text.lower().count(letter.lower())
    total = re.search(r": ([\d +*-]+?) *[=.]", question)[1]
    numbers = [int(n) for n in re.findall(r"\d+", total)]
    signs = re.findall(r"[+*-]", total)
    value = numbers[0]
    for sign, n in zip(signs, numbers[1:], strict=True):
        value = {"+": value + n, "-": value - n, "*": value * n}[sign]
    return value


@needs_gym
@pytest.mark.parametrize("task", GYM)
def test_answers_are_right_by_another_way(task):
    questions = make_questions(task, 30, seed=4)
    assert 20 < len(questions) == len({q["instruction"] for q in questions})
    for q in questions:
        assert int(q["output"]) == right_answer(task, q["instruction"]), q
        assert is_right(f"I think the answer is {q['output']}. I took 2 steps.", q["output"])


@needs_gym
def test_seeds_and_what_is_left_out():
    a, b, c = (gym_questions("chain-sum", 20, seed) for seed in (1, 1, 2))
    assert a == b != c
    known = {q["instruction"] for q in a}
    assert not known & {q["instruction"] for q in gym_questions("chain-sum", 20, 1, known)}
    assert len(gym_questions("products", 500, 0)) < 500  # products of one digit: no more exist


@needs_gym
def test_the_package_itself_is_left_as_it_was(monkeypatch):
    stand_in = type(sys)("reasoning_gym")
    stand_in.__spec__ = find_spec("reasoning_gym")
    monkeypatch.setitem(sys.modules, "reasoning_gym", stand_in)
    before = {name for name in sys.modules if name.startswith("reasoning_gym")}
    gym_questions("chain-sum", 2)
    assert sys.modules["reasoning_gym"] is stand_in
    assert {name for name in sys.modules if name.startswith("reasoning_gym")} == before


def test_without_the_package_the_error_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(gym, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=re.escape(INSTALL)):
        make_questions("chain-sum", 3)
    with pytest.raises(SystemExit) as done:
        main(["finetune", "spend", "nobody", "--task", "sums,chain-sum"])
    shown = " ".join(capsys.readouterr().err.split())
    assert done.value.code != 0 and "--task" in shown and "pip install" in shown
