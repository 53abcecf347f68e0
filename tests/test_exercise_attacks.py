"""Files of exercises that attack their checker: none of them passes without the right numbers."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import random
from tinygrad_llm.study.exercises import check_file, exercise, exercises
from tinygrad_llm.study.exercises.child import _LETTERS, OUTPUT_LIMIT
from tinygrad_llm.study.exercises.evidence import Missing, plain, recorded, replayed, seen
from tinygrad_llm.study.exercises.grading import Row, graded, verdict

# What a forger would like to send: every row is right, and no values or those of nobody's work.
FORGE = """
import atexit, gc, io, os, sys
import numpy as np
import tinygrad_llm as torch

ASPECTS = {aspects!r}
ROWS = [{{"aspect": a, "ok": True, "text": ""}} for a in ASPECTS]
ANSWER = {{"rows": ROWS, "values": [[] for _ in ROWS]}}

def places():
    # Everything in this process that could be the place of the result, or a secret.
    texts, frame = set(), sys._getframe()
    while frame is not None:
        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
            if isinstance(value, str):
                texts.add(value)
            if isinstance(value, dict):
                texts |= {{v for v in value.values() if isinstance(v, str)}}
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, dict):
            texts |= {{v for v in list(thing.values()) if isinstance(v, str) and len(v) < 300}}
    return [t for t in texts if t.startswith("/") and "\\0" not in t
            and os.path.isdir(os.path.dirname(t)) and not os.path.exists(t)]

def forge():
    buffer = io.BytesIO()
    torch.save(ANSWER, buffer)
    for place in places():
        try:
            open(place, "wb").write(buffer.getvalue())
        except OSError:
            pass
    for handle in range(1, 64):
        try:
            os.write(handle, buffer.getvalue())
        except OSError:
            pass
"""
ATTACKS = {
    "frames, garbage collector and every open file": "forge()\nos._exit(0)\n",
    "at exit": "atexit.register(forge)\nsys.exit(0)\n",
    "os._exit forges first": (
        "leave = os._exit\ndef f(code):\n    forge()\n    leave(0)\nos._exit = f\n"
    ),
    "comparisons that are always true": (
        "np.allclose = lambda *a, **k: True\nnp.array_equal = lambda *a, **k: True\n"
        "np.testing.assert_allclose = lambda *a, **k: None\n"
        "import tinygrad_llm.study.check.diagnose as d\nd.close = lambda a, b: True\n"
        "import tinygrad_llm.study.exercises.grading as g\n"
        "g.diagnose = lambda *a: []\ng.close = lambda *a: True\n"
    ),
    "checks that check nothing": (
        "import tinygrad_llm.study.exercises.grading as g\n"
        "g.CHECKS = {k: [(a, lambda m: None) for a, _ in v] for k, v in g.CHECKS.items()}\n"
        "g._grade_op = lambda *a: [g.Row(n, True) for n in ASPECTS]\n"
        "g._op_values = lambda *a: None\n"
    ),
    "the child's own grading": (
        "import tinygrad_llm.study.exercises.child as c\n"
        "c.graded = lambda *a: (ROWS, ANSWER['values'])\n"
        "sys.modules['__main__'].main.__globals__['graded'] = c.graded\n"
    ),
    "values without end": (
        "import tinygrad_llm.study.exercises.child as c\n"
        "c.graded = lambda *a: (ROWS, [[np.zeros(3)] * 50 for _ in ROWS])\n"
    ),
    "save replaced": (
        "import tinygrad_llm.study.exercises.child as c\n"
        "c.save = lambda answer, place: torch.save(ANSWER, place)\n"
    ),
    "a pipe in place of the result": (
        "import tinygrad_llm.study.exercises.child as c\n"
        "c.save = lambda answer, place: os.mkfifo(place)\n"
    ),
    "a link in place of the result": (
        "import tinygrad_llm.study.exercises.child as c\n"
        "c.save = lambda answer, place: os.symlink('/etc/passwd', place)\n"
    ),
    "a result without end": (
        "import tinygrad_llm.study.exercises.child as c\n"
        "def long(answer, place):\n    with open(place, 'wb') as f:\n        f.truncate(1 << 25)\n"
        "c.save = long\n"
    ),
}  # fmt: skip
OP_ASPECTS = ["gradient", "dtype", "nothing changed", "own memory", "memory saved"]


def attacked(name, aspects, code, tmp_path, solution=False):
    text = exercise(name).solution() if solution else exercise(name).template()
    path = tmp_path / f"{name}.py"
    path.write_text(text + FORGE.format(aspects=aspects) + code, "utf-8")
    return check_file(name, path, 30.0)


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes of POSIX")
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_op_that_is_not_written_does_not_pass(attack, tmp_path):
    report = attacked("exp", OP_ASPECTS, ATTACKS[attack], tmp_path)
    assert not report.passed and report.rows


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes of POSIX")
@pytest.mark.parametrize(
    "attack", [a for a in ATTACKS if "comparisons" not in a and not a.startswith("a ")]
)
def test_a_layer_that_is_not_written_does_not_pass(attack, tmp_path):
    aspects = ["the same as nn.LayerNorm"]
    report = attacked("layer_norm_layer", aspects, ATTACKS[attack], tmp_path)
    assert not report.passed and report.rows


def test_the_forger_reaches_the_place_of_the_result(tmp_path):
    """The attack is a real one: with the right values it passes, for it writes where it must."""
    code = (
        "import tinygrad_llm.study.exercises.grading as g\n"
        "from pathlib import Path\n"
        "rows, values = g.graded('exp', Path(__file__).with_name('right.py'))\n"
        "ANSWER = {'rows': rows, 'values': values}\nforge()\nos._exit(0)\n"
    )
    (tmp_path / "right.py").write_text(exercise("exp").solution())
    report = attacked("exp", OP_ASPECTS, code, tmp_path)
    assert report.passed, report.rows  # it computed the derivative of exp, as a solution does


def sent(name, folder, text=None):
    path = folder / f"{name}.py"
    path.write_text(exercise(name).solution() if text is None else text, "utf-8")
    rows, values = graded(name, path)
    return [Row(**row) for row in rows], values


TASKS = [e.name for e in exercises() if not e.is_op]


@pytest.mark.parametrize("name", [*TASKS, "exp", "layer_norm", "dropout", "cross_entropy"])
@pytest.mark.suite_cases(6)
def test_the_parent_believes_solutions_and_no_changed_number(name, tmp_path):
    """A verdict on the values of a solution; with one number changed it is another one.

    Of an exercise with many rows every third or so has a number changed, the first one always.
    """
    state = random.get_rng_state()
    rows, values = sent(name, tmp_path)
    random.set_rng_state(state)
    assert all(row.ok for row in verdict(name, rows, values))
    assert np.array_equal(random.get_rng_state(), state)  # the user's random numbers stay
    assert any(values), "every exercise shows some value"
    rng = np.random.default_rng(0)
    shown = [n for n, some in enumerate(values) if some]
    for n in shown[:: 1 + len(shown) // 8]:
        some = values[n]
        at = int(rng.integers(len(some)))
        if (name, at) == ("dropout_layer", 2):
            at = 0  # the second mask may be any other one
        changed = [list(v) for v in values]
        changed[n][at] = other(some[at])
        assert not verdict(name, rows, changed)[n].ok, (name, rows[n].aspect, at)
        if n:
            continue  # the same for all rows of an exercise
        cut = [list(v) for v in values]
        cut[n].pop()
        assert not verdict(name, rows, cut)[n].ok
        longer = [list(v) for v in values]
        longer[n].append(1.0)
        assert not verdict(name, rows, longer)[n].ok


def other(value):
    """A value of the same kind that is not right."""
    if isinstance(value, np.ndarray):
        return np.zeros_like(value) if value.any() else value + 1
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return value * 2 + 100
    if isinstance(value, list):
        return [other(v) for v in value] or [1, 2]
    if isinstance(value, dict):
        return {**value, "more": [1]}
    return "other"


@pytest.mark.parametrize("name", ["linear_layer", "lora", "feed_forward", "cross_attention"])
def test_numbers_that_a_layer_draws_for_itself_change_nothing(name, tmp_path):
    """A learner's layer may draw more random numbers than ours: the checks draw the same."""
    text = exercise(name).solution().replace(
        "        super().__init__()\n",
        "        super().__init__()\n        import tinygrad_llm\n        tinygrad_llm.rand(17)\n",
    )  # fmt: skip
    rows, values = sent(name, tmp_path, text)
    assert "rand(17)" in text and all(row.ok for row in verdict(name, rows, values))


@pytest.mark.parametrize(
    "values", [[], [[]], [["x"]] * 5, [[object]] * 5, [[[np.zeros(2)] * 9]] * 5]
)
def test_values_of_any_kind_end_in_a_row(values):
    rows = [Row(aspect, True) for aspect in OP_ASPECTS]
    assert not all(row.ok for row in verdict("exp", rows, values))


def test_what_is_plain():
    assert plain((1, [None, "a"], {"b": 2.5})) == [1, [None, "a"], {"b": 2.5}]
    assert plain(torch.ones(2)).tolist() == [1, 1] and plain(object()) == "a object"
    assert plain(np.array([object()])) == "a ndarray"
    with recorded() as values:
        assert seen(torch.ones(1)).tolist() == [1]
    assert len(values) == 1 and seen(3) == 3
    with replayed([7]):
        assert seen(3) == 7
        with pytest.raises(Missing):
            seen(3)
    with pytest.raises(Missing, match="left over"), replayed([7]):
        pass


LEAVING = {  # a file that leaves something behind, or hides: what the report says of it
    "a process in its own session": (
        "import subprocess\nsubprocess.Popen(['sleep', '9'], start_new_session=True)\n", None,
    ),
    "a grandchild": (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(9)\n"
        "  os._exit(0)\n", None,
    ),
    "signals ignored": (
        "import signal\nfor s in (1, 2, 15):\n  signal.signal(s, signal.SIG_IGN)\n"
        "while True: pass\n",
        "did not end within",
    ),
    "files closed": (
        "import os\nfor n in range(3, 20):\n  try: os.close(n)\n  except OSError: pass\n",
        "defines no class",
    ),
    "a long message": ("raise ValueError('x' * 10**7)\n", "raised ValueError"),
    "an end without words": ("import os\nos._exit(0)\n", "ended the process itself"),
    "bytes of no text": (
        "import sys\nsys.stdout.buffer.write(b'\\xff\\x00' * 999)\n", "defines no class",
    ),
    "a deep list": (
        "x = []\nfor i in range(10**5): x = [x]\nprint(repr(x))\n", "calls itself endlessly",
    ),
    "another folder": ("import os\nos.chdir('/')\n", "defines no class"),
    "a question": ("input()\n", "EOFError"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.parametrize("name", LEAVING)
def test_files_that_hide_or_leave_something_behind(tmp_path, name):
    code, message = LEAVING[name]
    (tmp_path / "exp.py").write_text(code)
    began = time.monotonic()
    report = check_file("exp", tmp_path / "exp.py", 3.0)
    assert time.monotonic() - began < 8.0 and not report.passed
    assert message is None or message in report.rows[0].text
    assert len(report.rows[0].text) <= _LETTERS and len(report.printed) <= OUTPUT_LIMIT
