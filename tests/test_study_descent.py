"""The page of an optimizer's or a schedule's descent: its numbers are those of the engine."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn, optim, study
from tinygrad_llm.optim import lr_scheduler
from tinygrad_llm.study.common.plain_steps import SCHEDULE_WORDS
from tinygrad_llm.study.draw.contours import contours
from tinygrad_llm.study.draw.descent import START, valley
from tinygrad_llm.study.explain.descents import OPTIONS, SCHEDULES, SHAPES, drawn_descent
from tinygrad_llm.study.explain.names import lookup, optimizers, schedules


def followed(make, make_schedule, steps):
    """A path in the valley by the shortest loop that somebody would write."""
    p = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = make([p])
    schedule = make_schedule and make_schedule(optimizer)
    points, losses, rates = [p.tolist()], [valley(p[0], p[1]).item()], []
    for _ in range(steps):
        optimizer.zero_grad()
        valley(p[0], p[1]).backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        points.append(p.tolist())
        losses.append(valley(p[0], p[1]).item())
        if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
            schedule.step(losses[-1])
        elif schedule:
            schedule.step()
    return points, losses, rates


@pytest.mark.parametrize("name", sorted(set(optimizers()) - set(SHAPES)))
def test_every_optimizer_takes_the_path_of_a_plain_loop(name):
    descent = drawn_descent(lookup(name))
    options = {"lr": 0.1, **OPTIONS.get(name, {})}
    points, losses, rates = followed(lambda p: lookup(name)(p, **options), None, 40)
    np.testing.assert_allclose(descent.points, points, rtol=1e-12)
    np.testing.assert_allclose(descent.losses, losses, rtol=1e-12)
    assert descent.rates == rates == [options["lr"]] * 40
    np.testing.assert_allclose(descent.data["points"], points, rtol=1e-5)
    for step, (x, y) in zip(descent.data["steps"], points, strict=False):
        np.testing.assert_allclose(step["gradient"], [x, 12 * y], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(schedules()))
def test_every_schedule_takes_the_path_of_a_plain_loop(name):
    descent, example = drawn_descent(lookup(name)), SCHEDULES[name]
    points, losses, rates = followed(
        lambda p: optim.SGD(p, lr=example.lr, momentum=example.momentum), example.make, 40
    )
    np.testing.assert_allclose(descent.points, points, rtol=1e-12)
    np.testing.assert_allclose(descent.losses, losses, rtol=1e-12)
    np.testing.assert_allclose(descent.rates, rates, rtol=1e-12)
    assert len(set(rates)) > 1 and all(step["scheduled"] for step in descent.data["steps"])


@pytest.mark.parametrize("name", [*sorted(optimizers()), *sorted(schedules())])
def test_every_descent_reaches_the_valley_and_shows_its_code(name):
    descent = drawn_descent(lookup(name))
    assert descent.losses[-1] < 0.05 * descent.losses[0]
    texts = descent.data["texts"]
    for step in descent.data["steps"]:
        assert any("def update" in texts[text] for text, _ in step["lines"])
        assert step["words"].startswith("Here x moves by")
    page = descent.html()
    assert f"{name}(" in page and "http" not in page.replace("http-equiv", "")


def test_the_state_of_adam_is_shown_before_and_after():
    steps = drawn_descent(optim.AdamW).data["steps"]
    assert steps[0]["before"] == []
    for first, second in zip(steps, steps[1:], strict=False):
        assert first["after"] == second["before"]
    (average,) = [values for name, values in steps[0]["after"] if name == "exp_avg"]
    np.testing.assert_allclose(average, [0.1 * START[0], 0.1 * 12 * START[1]], rtol=1e-5)


def test_the_average_of_schedule_free_is_what_eval_gives():
    descent = drawn_descent(optim.SGDScheduleFree)
    p = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = optim.SGDScheduleFree([p], lr=0.1)
    for step in range(5):
        optimizer.zero_grad()
        valley(p[0], p[1]).backward()
        optimizer.step()
        optimizer.eval()
        np.testing.assert_allclose(descent.data["averages"][step], p.tolist(), rtol=1e-5)
        optimizer.train()


def test_every_schedule_has_an_example_and_plain_words():
    assert set(SCHEDULES) == set(schedules()) == set(SCHEDULE_WORDS)
    for name, example in SCHEDULES.items():
        assert str(example).startswith(f"{name}(optimizer, ")
        explanation = study.explain(name)
        text = explanation.text(width=100)
        assert text.startswith(name) and f"tinygrad-llm draw {name}" in text
        assert all(len(line) <= 100 for line in text.splitlines())
        page = explanation.html()
        assert "in plain words" in page and "Its rates, drawn" in page and "<svg" in page
        assert explanation.data["example"]["rates"] == drawn_descent(lookup(name)).rates


def test_contours_of_a_plane_and_of_a_bowl():
    xs, ys = [0.0, 1.0, 2.0], [0.0, 1.0]
    plane = [[x + 2 * y for x in xs] for y in ys]
    pieces = contours(xs, ys, plane, 1.5)
    assert len(pieces) == 2
    for x1, y1, x2, y2 in pieces:
        assert x1 + 2 * y1 == pytest.approx(1.5) and x2 + 2 * y2 == pytest.approx(1.5)
    grid = np.linspace(-1, 1, 41)
    bowl = grid[:, None] ** 2 + grid[None] ** 2  # (41, 41)
    ends = np.array(contours(grid.tolist(), grid.tolist(), bowl, 0.4837)).reshape(-1, 2)
    np.testing.assert_allclose(np.hypot(*ends.T), 0.4837**0.5, rtol=2e-3)
    seen, times = np.unique(ends.round(9), axis=0, return_counts=True)
    assert len(seen) > 50 and (times == 2).all()  # a closed line: each end is also a beginning
    assert contours(xs, ys, plane, 9.0) == []


def test_a_descent_of_your_own(tmp_path):
    descent = study.draw_descent(
        lambda p: optim.SGD(p, lr=0.1),
        lambda o: lr_scheduler.StepLR(o, 2),
        loss=lambda x, y: x * x + 0.0 * y,
        start=(1.0, 2.0),
        steps=3,
        file=tmp_path / "mine",
    )
    assert [p[1] for p in descent.points] == [2.0] * 4
    np.testing.assert_allclose([p[0] for p in descent.points], [1, 0.8, 0.64, 0.6272])
    assert "StepLR with SGD, step by step" in (tmp_path / "mine.html").read_text("utf-8")
    assert descent._repr_html_().startswith("<iframe") and "3 steps" in repr(descent)
    with pytest.raises(ValueError, match=r"written as \.html, not \.svg"):
        descent.save(tmp_path / "mine.svg")


def test_what_cannot_be_shown_as_a_descent():
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        study.draw_descent(optim.SGD, steps=0)
    with pytest.raises(ValueError, match="two numbers together"):
        study.draw_descent(optim.SGD, shapes=((3,),))
    with pytest.raises(ValueError, match=r"after step \d+ the loss is .*: use a smaller"):
        study.draw_descent(lambda p: optim.SGD(p, lr=1e200))
    with pytest.raises(ValueError, match="Mine has no example; draw it with study.draw_descent"):
        study.explain(type("Mine", (lr_scheduler.LRScheduler,), {}))
