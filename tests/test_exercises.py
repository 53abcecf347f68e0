"""The exercises: their solutions pass, their blanks do not, and wrong files get a clear message."""

from __future__ import annotations

import ast
import os
import re
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tinygrad_llm.autograd import engine
from tinygrad_llm.autograd.engine import OPS
from tinygrad_llm.study import TWINS
from tinygrad_llm.study.check.samples import samples
from tinygrad_llm.study.exercises import check_file, exercise, exercises
from tinygrad_llm.study.exercises.child import OUTPUT_LIMIT, Report, _limit_this_process
from tinygrad_llm.study.exercises.grading import grade
from tinygrad_llm.study.mistakes import MISTAKES
from tinygrad_llm.tensor import wrap

NAMES = [e.name for e in exercises()]
TASKS = [name for name in NAMES if name not in OPS]


def graded(name, text, folder):
    """The rows for a file, in this process."""
    path = folder / f"{name}.py"
    path.write_text(text, "utf-8")
    return grade(name, path)


def with_backward(name, body):
    """An exercise's file with these lines as its backward."""
    head = exercise(name).template()
    start = head.index("def backward(self, g):")
    lines_left = head[start:].splitlines()
    stop = next(
        (i for i, line in enumerate(lines_left[1:], 1) if line and not line.startswith("        ")),
        len(lines_left),
    )
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), "        ")
    return head[:start] + "def backward(self, g):\n" + lines + "\n\n" + "\n".join(lines_left[stop:])


# --------------------------------------------------------------------------------- the catalogue
def test_every_op_has_an_exercise():
    assert set(OPS) <= set(NAMES)
    assert len(NAMES) == len(set(NAMES))


def test_the_engine_and_the_layers_have_exercises():
    tasks = "topological_order accumulation unbroadcast no_grad causal_attention lora kv_cache "
    tasks += "multi_head_attention transformer_block feed_forward linear_layer embedding_layer "
    tasks += "layer_norm_layer dropout_layer cross_entropy_loss tied_weights adamw_step"
    assert set(tasks.split()) <= set(TASKS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.suite_cases(20)
def test_the_solution_passes_and_the_blank_does_not(name, tmp_path):
    rows = graded(name, exercise(name).solution(), tmp_path)
    assert rows and [r for r in rows if not r["ok"]] == []
    assert not all(r["ok"] for r in graded(name, exercise(name).template(), tmp_path))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.suite_cases(12)
def test_hints_and_title(name):
    e = exercise(name)
    assert e.title and "\n" not in e.title
    assert "your lines" in e.template() and "your lines" not in e.solution()
    assert all(len(h.split()) > 3 for h in e.hints())
    if e.is_op:
        assert len(e.hints()) >= 4
        assert "saved" in e.hints()[0] and "Shapes" in e.hints()[1]


def ops_of(run):
    """The ops that are used while run() runs."""
    seen = set()

    def watch(op, inputs, outputs):
        seen.add(op.name)

    engine.observers.append(watch)
    try:
        run()
    finally:
        engine.observers.remove(watch)
    return seen


# What only arranges numbers, or is needed to set up a check, is taught by no one in particular.
ARRANGED = {"reshape", "permute", "expand", "clone", "cast", "move", "index", "index_put"}


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_fused_op_comes_after_what_it_fuses(name):
    """The primitives of its slow twin are exercises before it."""

    def run():
        for sample in samples(name):
            xs = [wrap(x) if hasattr(x, "dtype") else x for x in sample.inputs]
            TWINS[name](*xs, **sample.options)

    needed = ops_of(run) - ARRANGED - {name}
    late = {op for op in needed if NAMES.index(op) > NAMES.index(name)}
    assert late == set(), f"{name} comes before {late}"


@pytest.mark.parametrize("name", TASKS)
def test_what_is_built_needs_nothing_taught_later(name, tmp_path):
    """The ops that a solution uses itself, outside the check's own comparison, come before it."""
    path = tmp_path / f"{name}.py"
    path.write_text(exercise(name).solution(), "utf-8")
    used = set()

    def watch(op, inputs, outputs):
        import sys

        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != str(path):
            if "layer_checks" in frame.f_code.co_filename:
                return
            frame = frame.f_back
        if frame is not None:
            used.add(op.name)

    engine.observers.append(watch)
    try:
        grade(name, path)
    finally:
        engine.observers.remove(watch)
    late = {op for op in used - ARRANGED if NAMES.index(op) > NAMES.index(name)}
    assert late == set(), f"{name} comes before {late}"


LESSONS = Path(__file__).resolve().parent.parent / "lessons"


@pytest.mark.skipif(not LESSONS.is_dir(), reason="the lessons lie in the repository")
def test_lessons_send_to_exercises_that_are_there():
    sent = {
        name
        for path in LESSONS.rglob("*.py")
        for name in re.findall(r"exercise start (\w+)", path.read_text("utf-8"))
    }
    assert sent and sent <= set(NAMES)


# -------------------------------------------------------------------- mistakes typed as a learner
SOFTMAX = """
(y,) = self.saved
{}
"""
LAYER_NORM = """
xhat, r, w = self.saved
u = g if w is None else g * w
rows = tuple(range(g.ndim - 1))
gx = {}
gw = None if w is None else {}
gb = {}
return gx, gw, gb
"""
RIGHT_X = "r * (u - u.mean(-1, keepdims=True) - xhat * (u * xhat).mean(-1, keepdims=True))"
WITHOUT_W = "r * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True))"
RIGHT_W, RIGHT_B = "(g * xhat).sum(rows)", "g.sum(rows)"
ATTENTION = """
q, k, v, mask, keep, y, log_sum, _ = self.saved  # by group: (H, R, L, E), (H, S, E)
k2, v2 = k[..., None, :, :], v[..., None, :, :]
shape = g.shape
g = by_group(g, k)
s = q @ k2.swapaxes(-1, -2) * self.scale
if self.causal and {causal}:
    s = np.where(np.tril(np.ones(s.shape[-2:], bool)), s, -np.inf)
if mask is not None and {mask}:
    s = s + mask
p = np.exp(s - s.max(-1, keepdims=True))
p = p / p.sum(-1, keepdims=True)
kept = keep * self.keep_scale if keep is not None and {dropout} else 1.0
gv = {gv}
gp = g @ v2.swapaxes(-1, -2) * kept
gs = {gs}
gq, gk = {gq}, {gk}
gm = None
if len(self.needs) > 3 and self.needs[3]:
    gm = unbroadcast(gs.reshape(*self.q_shape[:-1], self.k_shape[-2]), self.mask_shape)
gk, gv = gk.{shared}, gv.{shared}
return gq.reshape(self.q_shape), gk.reshape(self.k_shape), gv.reshape(self.v_shape), gm, None
"""
RIGHT_ATTENTION = dict(
    causal=True, mask=True, dropout=True, gv="(p * kept).swapaxes(-1, -2) @ g",
    gs="p * (gp - (gp * p).sum(-1, keepdims=True))", gq="gs @ k2 * self.scale",
    gk="gs.swapaxes(-1, -2) @ q * self.scale", shared="sum(-3)",
)  # fmt: skip
EMBEDDING = """
ids = self.saved[0].reshape(-1)
g = g.reshape(ids.size, self.shape[1])
gw = np.zeros(self.shape, g.dtype)
{add}
if self.scaled {scaled}:
    gw /= np.maximum(np.bincount(ids, minlength=len(gw)), 1)[:, None].astype(g.dtype)
if self.padding_idx is not None:
    gw[self.padding_idx] = 0.0
return gw, None
"""


def attention(**broken):
    return ATTENTION.format(**{**RIGHT_ATTENTION, **broken})


def layer_norm(x=RIGHT_X, w=RIGHT_W, b=RIGHT_B):
    return LAYER_NORM.format(x, w, b)


TYPED = {
    "layer_norm": {
        "variance held constant": layer_norm("r * (u - u.mean(-1, keepdims=True))"),
        "mean held constant": layer_norm("r * (u - xhat * (u * xhat).mean(-1, keepdims=True))"),
        "mean and variance held constant": layer_norm("r * u"),
        "without r": layer_norm(RIGHT_X[4:]),
        "w forgotten": layer_norm(WITHOUT_W),
        "sums for means": layer_norm(RIGHT_X.replace("mean", "sum")),
        "x̂ missing in the third path": layer_norm(
            "r * (u - u.mean(-1, keepdims=True) - (u * xhat).mean(-1, keepdims=True))"
        ),
        "x̂ left out of ∂L/∂w": layer_norm(w="g.sum(rows)"),
        "w from one row": layer_norm(w="(g * xhat).reshape(-1, g.shape[-1])[0] * 1.0"),
        "b as a mean": layer_norm(b="g.mean(rows)"),
    },
    "softmax": {
        "as if element by element": SOFTMAX.format("return g * y * (1 - y)"),
        "Σ forgotten": SOFTMAX.format("return g * y"),
        "g left out of Σ": SOFTMAX.format("return y * (g - y.sum(self.dim, keepdims=True))"),
        "y left out of Σ": SOFTMAX.format("return y * (g - g.sum(self.dim, keepdims=True))"),
        "y in front forgotten": SOFTMAX.format(
            "return g - (g * y).sum(self.dim, keepdims=True)"
        ),
        "mean for Σ": SOFTMAX.format("return y * (g - (g * y).mean(self.dim, keepdims=True))"),
        "Σ over everything": SOFTMAX.format("return y * (g - (g * y).sum())"),
    },
    "scaled_dot_product_attention": {
        "1/√d forgotten": attention(gq="gs @ k2", gk="gs.swapaxes(-1, -2) @ q"),
        "1/√d forgotten for k": attention(gk="gs.swapaxes(-1, -2) @ q"),
        "1/√d twice": attention(
            gq="gs @ k2 * self.scale**2", gk="gs.swapaxes(-1, -2) @ q * self.scale**2"
        ),
        "causal mask forgotten in backward": attention(causal=False),
        "mask forgotten in backward": attention(mask=False),
        "softmax as if element by element": attention(gs="gp * p * (1 - p)"),
        "d forgotten": attention(gs="gp * p"),
        "p in front forgotten": attention(gs="gp - (gp * p).sum(-1, keepdims=True)"),
        "q and k swapped": attention(
            gq="gs @ q * self.scale",
            gk="gs.swapaxes(-1, -2) @ k2 * self.scale",
        ),
        "p left out of ∂L/∂v": attention(gv="np.ones_like(p).swapaxes(-1, -2) @ g"),
        "dropout forgotten in backward": attention(dropout=False),
        "one query head of a group": attention(shared="take(0, -3) * 1.0"),
    },
    "embedding": {
        "= for +=": EMBEDDING.format(add="gw[ids] += g", scaled=""),
        "only the first reading": EMBEDDING.format(
            add="for n in reversed(range(len(ids))):\n    gw[ids[n]] = g[n]", scaled=""
        ),
        "mean of the readings": EMBEDDING.format(
            add="np.add.at(gw, ids, g)\n"
            "gw /= np.maximum(np.bincount(ids, minlength=len(gw)), 1)[:, None]",
            scaled="and False",
        ),
        "g forgotten": EMBEDDING.format(add="np.add.at(gw, ids, 1.0)", scaled=""),
    },
}  # fmt: skip
BY_HAND = [(op, name) for op, typed in TYPED.items() for name in typed]


def test_every_mistake_of_the_four_was_typed():
    for op, typed in TYPED.items():
        assert set(typed) == {m.name for m in MISTAKES[op]}


@pytest.mark.parametrize("op, name", BY_HAND, ids=lambda v: v)
def test_a_mistake_typed_by_hand_is_named(op, name, tmp_path):
    rows = graded(op, with_backward(op, TYPED[op][name]), tmp_path)
    sentence = next(m.sentence for m in MISTAKES[op] if m.name == name)
    assert rows[0]["aspect"] == "gradient" and not rows[0]["ok"]
    assert sentence in rows[0]["text"] and f"[{name}]" in rows[0]["text"], rows[0]["text"]


def test_what_the_typed_ones_break_is_all_that_is_wrong(tmp_path):
    """Without the mistake, the same hand-written files pass."""
    right = {
        "layer_norm": layer_norm(),
        "scaled_dot_product_attention": attention(),
        "embedding": EMBEDDING.format(add="np.add.at(gw, ids, g)", scaled=""),
        "softmax": SOFTMAX.format("return y * (g - (g * y).sum(self.dim, keepdims=True))"),
    }
    for op, body in right.items():
        rows = graded(op, with_backward(op, body), tmp_path)
        assert [r for r in rows if not r["ok"] and r["aspect"] == "gradient"] == [], rows


# -------------------------------------------------------------------------------- other aspects
def words(name, body, tmp_path):
    rows = graded(name, with_backward(name, body), tmp_path)
    return "; ".join(f"{r['aspect']}: {r['text']}" for r in rows if not r["ok"])


def test_mutation_aliasing_dtype_and_memory(tmp_path):
    assert "changes g" in words("exp", "g *= self.saved[0]\nreturn g", tmp_path)
    body = "y = self.saved[0]\ny *= g\nreturn y * 1.0"
    assert "saved[0]" in words("exp", body, tmp_path)
    body = "gx = g * 1.0\nreturn gx, gx"
    assert "are one array" in words("add", body, tmp_path)
    assert "float64" in words("exp", "return g * self.saved[0] * np.float64(1.0)", tmp_path)
    text = exercise("exp").solution().replace("(y,)", "(y, x, y * 2.0)")
    rows = graded("exp", text, tmp_path)
    assert [r["aspect"] for r in rows if not r["ok"]] == ["memory saved"]
    text = exercise("exp").solution().replace("self.saved = (y,)", "self.saved = (y,); self.x = x")
    assert "self.x keeps an array" in str(graded("exp", text, tmp_path))


def test_an_error_names_the_line_and_the_call(tmp_path):
    text = words("matmul", "a, b = self.saved\nreturn g @ b @ b @ b, a", tmp_path)
    assert "`return g @ b @ b @ b, a`" in text and "The call" in text
    body = layer_norm().replace("g if w is None else g * w", "g * w")
    text = words("layer_norm", body, tmp_path)
    assert "it is None" in text


def test_a_changed_forward(tmp_path):
    text = exercise("exp").solution().replace("xp_of(x).exp(x)", "xp_of(x).exp(x) * 2.0")
    assert "forward was changed" in str(graded("exp", text, tmp_path))


# ----------------------------------------------------------------- files that are not answers
def report_of(text, tmp_path, name="exp", seconds=60.0) -> Report:
    path = tmp_path / f"{name}.py"
    path.write_text(text, "utf-8")
    report = check_file(name, path, seconds)
    text = " ".join(row.text for row in report.rows)
    assert "Traceback" not in text and "tinygrad_llm/study" not in text
    return report


@pytest.mark.parametrize(
    "text, word",
    [
        ("def backward(self, g:\n", "line 1 is not valid Python"),
        ("import nothing_of_this_name\n", "raised ModuleNotFoundError"),
        ("x = 1 / 0\n", "line 1 (`x = 1 / 0`) raised ZeroDivisionError"),
        ("", "defines no class Exp(Op)"),
        ("class Exp:\n    pass\n", "defines no class Exp(Op)"),
        ("import sys\nsys.exit(3)\n", "ends the program"),
        ("import os\nos._exit(3)\n", "exit code 3"),
        ("import os\nos.kill(os.getpid(), 9)\n", "SIGKILL"),
        ("def f():\n    f()\nf()\n", "calls itself endlessly"),
    ],
)
def test_a_file_that_is_not_an_answer_gets_a_clear_message(text, word, tmp_path):
    report = report_of(text, tmp_path)
    assert not report.passed and len(report.rows) == 1
    assert word in report.rows[0].text, report.rows[0].text


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_file_gets_one_line_that_names_what_it_lacks(name, tmp_path):
    (row,) = graded(name, "", tmp_path)
    assert not row["ok"] and row["text"].startswith("it defines no ") and "\n" not in row["text"]
    assert f"exercise start {name} --again writes the file" in row["text"]


def test_a_file_that_lacks_one_of_three_functions(tmp_path):
    text = exercise("crf_paths").solution().replace("def best_path(", "def the_best_path(")
    failed = [row["text"] for row in graded("crf_paths", text, tmp_path) if not row["ok"]]
    assert failed == ["the file defines no best_path"]


class Nothing(ast.NodeTransformer):
    """Functions and methods that do nothing and so return None."""

    def visit_FunctionDef(self, node):
        return node if node.name == "__init__" else ast.parse(f"def {node.name}(*a, **k): pass")


@pytest.mark.parametrize("name", [*TASKS, "exp", "logabsdet", "split", "layer_norm"])
def test_the_message_says_that_none_was_returned(name, tmp_path):
    text = ast.unparse(Nothing().visit(ast.parse(exercise(name).solution())))
    failed = [row["text"] for row in graded(name, text, tmp_path) if not row["ok"]]
    assert failed and not any("NoneType" in text or "Error" in text for text in failed), failed
    if name not in ("no_grad", "adamw_step"):  # what they change is looked at, not a result
        assert any("None" in text or "returned no array" in text for text in failed), failed


def test_an_endless_loop_is_stopped(tmp_path):
    report = report_of(with_backward("exp", "while True:\n    pass"), tmp_path, seconds=4.0)
    assert "did not end within 4 seconds" in report.rows[0].text
    report = report_of("import time\ntime.sleep(1000)\n", tmp_path, seconds=2.0)
    assert "did not end within 2 seconds" in report.rows[0].text


def test_what_the_file_prints_is_kept_apart(tmp_path):
    text = exercise("exp").solution() + "\nprint('hello from the file')\n"
    report = report_of(text, tmp_path)
    assert report.passed and "hello from the file" in report.printed


def test_a_folder_with_odd_names_works(tmp_path):
    """Exercises are called abs, exp, split: the child must not import them for something else."""
    for name in ("json", "numpy", "typing", "random"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported by mistake')\n")
    assert report_of(exercise("exp").solution(), tmp_path).passed


FORGED = """
import json, os, sys
rows = [{"aspect": "gradient", "ok": True, "text": ""}]
"""


@pytest.mark.parametrize(
    "text",
    [
        "print(json.dumps({'values': [], 'rows': rows}))\nprint(json.dumps(rows))\n",
        "print(json.dumps(rows), file=sys.stderr, flush=True)\nos._exit(0)\n",
        "[open(a, 'w').write(json.dumps(rows)) for a in sys.argv[3:] if not os.path.exists(a)]\n"
        "os._exit(0)\n",
        "import glob, tempfile\n"
        "for f in glob.glob(tempfile.gettempdir() + '/*/'):\n"
        "    if os.access(f, os.W_OK):\n"
        "        for name in ('rows.json', 'printed.txt'):\n"
        "            open(f + name, 'w').write(json.dumps({'rows': rows, 'key': None}))\n"
        "            os.remove(f + name)\n"
        "os._exit(0)\n",
        "print(sys.stdin.read() + json.dumps(rows))\nos._exit(0)\n",
        "sys.stdout.write(json.dumps(rows)); sys.stdout.flush(); os.kill(os.getpid(), 9)\n",
    ],
)
def test_a_result_is_not_forged(text, tmp_path):
    """What the file prints or leaves behind is not taken for the grader's result."""
    report = report_of(FORGED + text, tmp_path)
    assert not report.passed and len(report.rows) == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("line", ["'x' * 10_000", "'1234'", "'é' * 999"])
def test_endless_output_is_stopped(stream, line, tmp_path):
    text = f"import sys\nwhile True:\n    print({line}, file=sys.{stream})\n"
    report = report_of(text, tmp_path)
    assert "printed more than 1,048,576 bytes" in report.rows[0].text
    assert len(report.printed.encode()) <= OUTPUT_LIMIT + 3


def test_output_below_the_limit_is_kept_whole(tmp_path):
    text = exercise("exp").solution() + "\nprint('a' * 500_000)\nprint('the last line')\n"
    report = report_of(text, tmp_path)
    assert report.passed and report.printed.endswith("the last line\n")
    assert len(report.printed) > 500_000


limited = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")


@limited
@pytest.mark.parametrize(
    "line",
    ["x = np.ones(1 << 30)", "x = bytearray(1 << 33)", "x = [b'1' * 10**8 for _ in range(1000)]"],
)
def test_memory_is_limited(line, tmp_path):
    report = report_of(f"import numpy as np\n{line}\n", tmp_path)
    assert "line 2" in report.rows[0].text and "more memory than the 2 GiB" in report.rows[0].text
    report = report_of(with_backward("exp", line + "\nreturn g"), tmp_path)
    assert not report.passed and "more memory than the 2 GiB" in report.rows[-1].text


@limited
def test_files_are_limited(tmp_path):
    text = "f = open('big.bin', 'wb')\nwhile True:\n    f.write(b'0' * 10_000_000)\n"
    report = report_of(text, tmp_path)
    assert "raised OSError" in report.rows[0].text and "large" in report.rows[0].text
    assert (tmp_path / "big.bin").stat().st_size <= 1 << 26


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
@pytest.mark.parametrize("ending", ["", "while True: pass", "import os; os._exit(0)", "1 / 0"])
def test_what_the_file_started_ends_too(ending, tmp_path):
    text = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        f"open('pid', 'w').write(str(p.pid))\n{ending}\n"
    )
    report_of(text, tmp_path, seconds=4.0)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("it still runs")


def test_a_thread_that_never_ends_delays_nothing(tmp_path):
    text = exercise("exp").solution()
    text += "\nimport threading, time\nthreading.Thread(target=lambda: time.sleep(300)).start()\n"
    assert report_of(text, tmp_path, seconds=30.0).passed


def test_streams_that_the_file_closed(tmp_path):
    text = exercise("exp").solution() + "\nimport sys\nsys.stdout.close()\nsys.stderr = None\n"
    assert report_of(text, tmp_path).passed


def test_a_system_without_groups_and_limits(tmp_path, monkeypatch):
    """As on Windows: the child alone is ended, and time and output are limited all the same."""
    monkeypatch.delattr(os, "killpg", raising=False)
    assert report_of(exercise("exp").solution(), tmp_path).passed
    report = report_of("while True: pass\n", tmp_path, seconds=2.0)
    assert "did not end within 2 seconds" in report.rows[0].text
    report = report_of("while True: print('y' * 999)\n", tmp_path)
    assert "printed more than" in report.rows[0].text
    monkeypatch.setitem(sys.modules, "resource", None)
    _limit_this_process()  # nothing to do, and no error


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        check_file("exp", tmp_path / "exp.py")


def test_a_tensor_is_not_an_array(tmp_path):
    """A learner who returns a Tensor reads that an array is needed."""
    text = with_backward("exp", "return Tensor(g * self.saved[0])")
    text = text.replace("import numpy as np", "import numpy as np\nfrom tinygrad_llm import Tensor")
    assert "is a Tensor" in str(graded("exp", text, tmp_path))
