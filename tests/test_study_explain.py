"""study.explain: for every op, layer, loss and optimizer, and nothing in it written twice."""

from __future__ import annotations

import json
import re
import unicodedata

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import models, nn, optim, study
from tinygrad_llm.arrays.twins import without_loops
from tinygrad_llm.autograd.engine import OPS, Op
from tinygrad_llm.models import Decoder, registry
from tinygrad_llm.study.check.reference import TWINS
from tinygrad_llm.study.common.lines import shown_values, watch_lines
from tinygrad_llm.study.common.op_examples import EXAMPLES, GPT2
from tinygrad_llm.study.common.source import saved_names, statements
from tinygrad_llm.study.explain.layer_examples import LAYERS
from tinygrad_llm.study.explain.names import (
    catalogue,
    collectives,
    example_name,
    layers,
    lookup,
    optimizers,
    schedules,
)
from tinygrad_llm.study.explain.picture import picture
from tinygrad_llm.study.memory.at_size import letters_of, letters_of_both, size_at

OWN_OPS = sorted(n for n, op in OPS.items() if op.__module__.startswith("tinygrad_llm."))
_known = {}


def explained(name):
    if name not in _known:
        _known[name] = study.explain(name)
    return _known[name]


# ------------------------------------------------------------------------------------------- all
@pytest.mark.parametrize("name", OWN_OPS)
def test_every_op(name):
    explanation = explained(f"ops.{name}")
    data, example = explanation.data, explanation.data["example"]
    assert data["name"] == name and data["doc"] and data["title"]
    assert "def forward(" in data["forward"] and "def backward(self" in data["backward"]
    assert data["check"] and explanation.right, data["check"]
    assert all(row["difference"] < 1e-5 for row in data["check"])
    expected = [x["name"] for x in example["inputs"] if x["wants_gradient"]]
    assert [g["name"] for g in example["gradients"]] == expected and expected
    for g in example["gradients"]:
        x = next(x for x in example["inputs"] if x["name"] == g["name"])
        assert g["value"].shape == x["value"].shape
    assert example["forward_lines"][0].text.startswith("def forward(self")
    assert example["backward_lines"][0].text.startswith("def backward(self")
    if name in TWINS:
        assert data["twin"]["difference"] < 1e-12
        assert data["twin"]["ops"] and data["twin"]["source"]


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.suite_cases(10)
def test_every_layer(name):
    explanation = explained(f"nn.{name}")
    data = explanation.data
    assert data["kind"] == "layer" and data["doc"]
    assert f"def {LAYERS[name].method}(" in data["forward"]
    assert explanation.right and (data["check"] or not LAYERS[name].gradients)
    assert data["example"]["output"] and data["memory"]["sizes"] == GPT2
    shapes = {p["name"]: p["value"].shape for p in data["example"]["parameters"]}
    for g in data["example"]["gradients"]:
        if g["name"] in shapes:
            assert g["value"].shape == shapes[g["name"]]


@pytest.mark.parametrize("name", sorted(optimizers()))
def test_every_optimizer(name):
    data = explained(f"optim.{name}").data
    assert "def update" in data["update"] and len(data["example"]["steps"]) == 2
    assert all(step["lines"] for step in data["example"]["steps"])


@pytest.mark.parametrize("name", [*OWN_OPS, *sorted(LAYERS), *sorted(optimizers())])
@pytest.mark.suite_cases(8)
def test_every_form(name):
    prefix = "ops." if name in OPS else "nn." if name in LAYERS else "optim."
    explanation = explained(prefix + name)
    text = explanation.text(width=100)
    assert text.startswith(name) and "def " in text
    for line in text.splitlines():
        assert sum(not unicodedata.combining(c) for c in line) <= 100
    page = explanation.html()
    assert "<title>" in page and "http" not in page.replace("http-equiv", "")
    assert json.loads(json.dumps(explanation.as_dict(), allow_nan=False))["name"] == name


def test_nothing_is_missing():
    assert set(OWN_OPS) == set(EXAMPLES)
    computing = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type)
        and issubclass(getattr(nn, name), nn.Module)
        and name
        not in "Module ModuleList ModuleDict ParameterList ParameterDict DataParallel".split()
    }
    assert computing <= set(LAYERS)
    listed = {name for members in catalogue().values() for name, _ in members}
    assert listed == {*OWN_OPS, *LAYERS, *optimizers(), *schedules(), *collectives()}


# --------------------------------------------------------------------------------------- contents
def test_layer_norm_s_saved_arrays_and_memory():
    data = explained("ops.layer_norm").data
    saved = {x["name"]: x["value"] for x in data["example"]["saved"]}
    x = np.array([[1.0, 2.0, 4.0], [0.5, -1.0, 1.0]])
    r = 1.0 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(saved["xhat"], (x - x.mean(-1, keepdims=True)) * r, rtol=1e-9)
    np.testing.assert_allclose(saved["r"], r, rtol=1e-9)
    kept = {a["name"]: (a["shape"], a["bytes"], a["is_input"]) for a in data["memory"]["arrays"]}
    assert kept["xhat"] == ("(B, T, C)", 1024 * 768 * 4, "")
    assert kept["r"] == ("(B, T, 1)", 1024 * 4, "")
    assert kept["w"] == ("(C)", 768 * 4, "w")
    assert data["memory"]["new_bytes"] == 1024 * 768 * 4 + 1024 * 4
    assert data["twin"]["new_bytes"] > 2 * data["memory"]["new_bytes"]


def test_memory_at_gpt2_s_shapes_is_what_a_real_run_keeps():
    x = torch.zeros(1, 1024, 768, requires_grad=True)
    w = torch.ones(768, requires_grad=True)
    with without_loops():
        y = OPS["layer_norm"].apply(x, w, None)
    real = sum(a.nbytes for a in y.grad_fn.saved if a is not None and a is not w.array)
    assert real == explained("ops.layer_norm").data["memory"]["new_bytes"]


def test_gpt2_has_its_parameters():
    data = explained("nn.GPT").data
    assert data["memory"]["elements"] == 124_439_808
    block = explained("nn.TransformerBlock").data
    assert block["memory"]["elements"] == 7_087_872
    kept = {(a["op"], a["name"]): a["shape"] for a in block["memory"]["arrays"]}
    assert kept["layer_norm", "xhat"] == "(B, T, C)"


def test_every_model_and_its_block_is_explained():
    blocks = {f"{f.name}Block" for f in registry.families() if issubclass(f.model, Decoder)}
    assert {f.name for f in registry.families() if f.presets} | blocks <= set(LAYERS)


def test_the_published_sizes_of_a_model():
    sizes = {p["name"]: p["parameters"] for p in explained("nn.Llama").data["published"]}
    assert sizes["smollm2-135m"] == 134_515_008 and sizes["llama2-7b"] == 6_738_415_616
    assert "134,515,008" in explained("nn.Llama").text(width=100)
    assert explained("nn.LlamaBlock").data["published"] == []
    assert "Sizes, as presets" not in explained("nn.Attention").text(width=100)


def test_gpt2_s_shapes_in_newer_blocks():
    """Attention without biases, 4·C², a gated feed forward, 3·C·F, and two norms."""
    C, F = 768, 3072
    llama = explained("nn.LlamaBlock").data["memory"]
    assert llama["elements"] == 4 * C * C + 3 * C * F + 2 * C
    qwen = explained("nn.Qwen2Block").data["memory"]
    assert qwen["elements"] == llama["elements"] + 3 * C


def test_adamw_line_by_line():
    steps = explained("optim.AdamW").data["example"]["steps"]
    p, g, lr, b1, b2 = np.array([1.0, -2.0, 0.5]), np.array([0.5, -0.1, 0.0]), 0.1, 0.9, 0.999
    p = p * (1 - lr * 0.01)
    m, v = (1 - b1) * g, (1 - b2) * g * g
    p = p - lr * (m / (1 - b1)) / (np.sqrt(v / (1 - b2)) + 1e-8)
    np.testing.assert_allclose(steps[0]["parameters"], p, rtol=1e-12)
    np.testing.assert_allclose(steps[0]["state"]["exp_avg"], m, rtol=1e-12)
    lines = {line.text: line.values for line in steps[0]["lines"]}
    np.testing.assert_allclose(lines["p *= 1 - lr * decay"]["p"], [0.999, -1.998, 0.4995])
    assert lines["correction1 = 1 - beta1**t"]["correction1"] == pytest.approx(0.1)


def test_a_wrong_backward_is_called_wrong():
    class Doubled(Op):
        """y = x·x.

        Backward: ∂L/∂x = g·x, which is wrong: the factor 2 is missing.
        """

        name = "doubled_for_explain"

        def forward(self, x):
            self.saved = (x,)
            return x * x

        def backward(self, g):
            (x,) = self.saved
            return g * x

    try:
        explanation = study.explain(Doubled)
        assert not explanation.right and "wrong" in explanation.text()
    finally:
        OPS.pop("doubled_for_explain")


def test_an_op_with_the_caller_s_numbers():
    explanation = study.explain("exp", np.array([0.0, 1.0]))
    np.testing.assert_allclose(explanation.data["example"]["output"][0], np.exp([0.0, 1.0]))
    assert explanation.data["memory"] is None and explanation.right
    explanation = study.explain("softmax", np.ones((1, 2)), dim=0)
    np.testing.assert_allclose(explanation.data["example"]["output"][0], [[1.0, 1.0]])


def test_names():
    assert lookup("layer_norm") is OPS["layer_norm"] and lookup("LayerNorm") is nn.LayerNorm
    assert lookup("nn.Linear") is nn.Linear and lookup("torch.nn.Linear") is nn.Linear
    assert lookup("F.gelu") is OPS["gelu"] and lookup("optim.AdamW") is optim.AdamW
    assert lookup("adamw") is optim.AdamW and lookup("ops.linear") is OPS["linear"]
    assert lookup("layernorm") in (nn.LayerNorm, OPS["layer_norm"])
    assert lookup("qwen3_moe") is models.Qwen3Moe and lookup("Qwen3.5") is models.Qwen35
    assert lookup("SmolLM2-135M") is models.Llama and lookup("models.gemma3") is models.Gemma3
    with pytest.raises(ValueError, match="did you mean layer_norm"):
        study.explain("layer_nrom")
    with pytest.raises(ValueError, match="nothing is called"):
        study.explain("qqqqqq")


def test_objects():
    assert study.explain(nn.Linear(2, 2)).data["name"] == "Linear"
    assert study.explain(optim.SGD).data["name"] == "SGD"

    class Mine(nn.Module):
        """A layer without an example."""

        def forward(self, x):
            return x * 2.0

    explanation = study.explain(Mine)
    assert explanation.data["example"] is None and "x * 2.0" in explanation.text()
    with pytest.raises(TypeError, match="expected a name or a class"):
        study.explain(3)
    with pytest.raises(TypeError, match="is not an op, a layer, an optimizer or a schedule"):
        study.explain(dict)
    with pytest.raises(TypeError, match="for an op only"):
        study.explain("Linear", np.ones(2))


def test_explaining_draws_no_random_numbers():
    torch.manual_seed(3)
    before = torch.get_rng_state().numpy().copy()
    study.explain("Dropout")
    assert (torch.get_rng_state().numpy() == before).all()


# ------------------------------------------------------------------------------------- its helpers
@pytest.mark.parametrize(
    "n, letters", [(11 * 13, "B·T"), (23, "C"), (4 * 23, "4·C"), (1, "1"), (64, "64"), (37, "37")]
)
def test_the_letters_of_dimensions(n, letters):
    assert letters_of(n) == letters
    assert size_at("B·T") == 1024 and size_at("4·C") == 3072 and size_at("1") == 1


def test_a_sum_with_a_letter_as_a_factor_by_chance():
    sizes, others = {"C": 323, "H": 17, "T": 13}, {"C": 851, "H": 23, "T": 41}
    assert 4 * 323 + 2 * 17 == 6 * 13 * 17  # at these sizes it looks like 6·T·H
    letters = letters_of_both(4 * 323 + 2 * 17, sizes, 4 * 851 + 2 * 23, others)
    assert letters == "4·C + 2·H" and size_at(letters) == 4 * 768 + 2 * 12
    assert letters_of_both(3 * 323, sizes, 3 * 851, others) == "3·C"
    assert letters_of_both(4, sizes, 4, others) == "4"


def test_a_layer_whose_matrix_has_the_rows_of_two_kinds():
    memory = study.explain("GatedDeltaNet").data["memory"]
    rows = {p["name"]: p for p in memory["parameters"]}
    assert rows["in_proj.weight"]["shape"] == "(4·C + 2·H, C)"
    assert rows["in_proj.weight"]["elements"] == (4 * 768 + 2 * 12) * 768
    assert memory["inputs"] == "input 0 (B, T, C)"
    assert not any("T·H" in a["shape"] for a in memory["arrays"])


def test_names_of_saved_arrays_come_from_the_code():
    assert saved_names(OPS["layer_norm"]) == ("xhat", "r", "w")
    assert saved_names(OPS["tanh"]) == ("y",)
    assert saved_names(OPS["add"]) == ()


@pytest.mark.parametrize("name", ["gelu", "silu", "relu"])
def test_an_array_that_no_line_has_written_shows_no_numbers(name):
    """What such memory holds is chance: the numbers of an array that was freed."""
    rows = str(study.explain(name)).partition("forward, line by line")[2].splitlines()
    made = [row for row in rows if re.search(r" = empty\w*\(", row)]
    assert all("not filled yet" in row for row in made), made
    assert made or name != "gelu"


def test_the_values_of_lines_until_an_array_is_written():
    def forward(n):
        out = np.empty((2, n))
        out[:] = 3.0
        return out

    with watch_lines(forward) as seen:
        forward(2)
    texts = [dict(values) for values in shown_values(seen.lines)]
    assert texts[1] == {"out": "(2, 2), not filled yet"}
    assert "3" in texts[-1]["return"] and "filled" not in texts[-1]["return"]


def test_lines_show_changes_in_place_and_inner_functions():
    def outer(a):
        b = a + 1.0

        def inner(c):
            c *= 2.0

        inner(b)
        return b

    with watch_lines(outer) as seen:
        outer(np.array([1.0]))
    lines = [
        (line.text, {k: v for k, v in line.values.items() if k in "abc"}) for line in seen.lines
    ]
    assert lines[0] == ("def outer(a)", {"a": np.array([1.0])})
    assert ("b = a + 1.0", {"b": np.array([2.0])}) in lines
    assert ("c *= 2.0", {"c": np.array([4.0])}) in lines
    assert ("inner(b)", {"b": np.array([4.0])}) in lines
    assert seen.lines[-1].values["return"] == np.array([4.0])
    first = statements(outer)[outer.__code__.co_firstlineno + 1]
    assert first[1] == "b = a + 1.0"


def test_lines_of_a_statement_over_several_rows():
    def f(a):
        b = (
            a
            + 1.0
        )  # fmt: skip
        return b

    with watch_lines(f) as seen:
        f(1.0)
    assert [line.text.split("\n")[0] for line in seen.lines] == ["def f(a)", "b = (", "return b"]
    assert seen.lines[1].values == {"b": 2.0}


def test_layers_have_classes():
    assert all(isinstance(kind, type) for kind in layers().values())


@pytest.mark.slow
@pytest.mark.ci
def test_a_layer_of_models_has_its_twin_mistakes_and_exercises():
    for name, kind in layers().items():
        data = explained(f"nn.{name}").data
        if not kind.__module__.startswith("tinygrad_llm.layers."):
            assert data["twin"] is None and data["mistakes"] == data["exercises"] == []
            continue
        assert data["twin"]["source"].startswith("class Slow") and data["exercises"]
        assert data["twin"]["difference"] < (1e-5 if name == "Rotary" else 1e-12)
        text = explained(f"nn.{name}").text(width=100)
        for title in ("The same by the definition", "Mistakes that people make", "Build it"):
            assert title in text


def test_large_arrays_are_not_copied():
    def f(a):
        b = a * 2.0
        b += 1.0
        return b

    big = np.ones(5000)
    with watch_lines(f) as seen:
        f(big)
    assert seen.lines[0].values["a"] is big
    assert [line.text for line in seen.lines if "b" in line.values] == ["b = a * 2.0"]


def test_no_more_lines_than_the_limit():
    def f(n):
        for i in range(n):
            n += i
        return n

    with watch_lines(f, limit=20) as seen:
        assert f(1000) == 1000 + 1000 * 999 // 2
    assert len(seen.lines) == 20


@pytest.mark.parametrize(
    "name, shown",
    [
        ("Attention(cross=True)", "memory"),
        ("nn.CrossEntropyLoss(label_smoothing=0.1)", "label_smoothing"),
    ],
)
def test_a_layer_with_a_setting_has_its_own_example(name, shown):
    plain, setting = (study.explain(n).data["example"] for n in (name.partition("(")[0], name))
    assert (
        plain["made"] != setting["made"] and plain["output"][0].sum() != setting["output"][0].sum()
    )
    assert shown in str(study.explain(name))


@pytest.mark.parametrize(
    ("name", "meant"),
    [("cross-attention", "Attention(cross=True)"), ("cross_attention", "Attention(cross=True)"),
     ("label_smoothing", "CrossEntropyLoss(label_smoothing=0.1)"), ("Attention", None),
     ("cross_entropy", None)],
)  # fmt: skip
def test_a_setting_is_a_name(name, meant):
    assert example_name(name) == meant


def test_a_picture_comes_before_the_formulas():
    lines = explained("ops.layer_norm").text(width=100).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("In a picture"))
    assert [line.rstrip() for line in lines[start + 1 : start + 8]] == [
        "forward   x (2, 3) ─┐",
        "          w (3) ────┼─▶ layer_norm ──▶ y (2, 3)",
        "          b (3) ────┘",
        "backward  ∂L/∂x (2, 3) ◀──┐",
        "          ∂L/∂w (3) ◀─────┼─ layer_norm ─◀─ ∂L/∂y (2, 3)",
        "          ∂L/∂b (3) ◀─────┘",
        "saved     xhat (2, 3), r (2, 1), w (3)",
    ]
    assert "What it does" not in "".join(lines[1:start])


@pytest.mark.parametrize("name", [*OWN_OPS, *sorted(LAYERS)])
@pytest.mark.suite_cases(10)
def test_every_picture_has_all_inputs_and_gradients_or_how_many_more(name):
    explanation = explained(f"{'ops' if name in OPS else 'nn'}.{name}")
    example, shown = explanation.data["example"], picture(explanation.data)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 100, shown
    back = [f"∂L/∂{g['name']} " for g in example["gradients"]]
    for names in ([f"{x['name']} " for x in example["inputs"]], back):
        there = [word for word in names if word in shown]
        assert len(there) == len(names) or f"{len(names) - len(there)} more" in shown, shown
    assert back or lines[-1] == "backward  no gradient"


def test_the_pictures_of_what_has_no_graph():
    assert picture(explained("optim.AdamW").data).splitlines() == [
        "parameter p ──────────────────────────────┐         ┌─▶ p after the step",
        "gradient g = ∂L/∂p ───────────────────────┼─▶ AdamW ┴─▶ the same, changed",
        "what it keeps: step, exp_avg, exp_avg_sq ─┘",
    ]
    bars = picture(study.explain("StepLR").data).splitlines()[0].split()[-1]
    assert bars == "█" * 10 + "▅" * 10 + "▃" * 10 + "▂" * 10
    assert "∂L/∂x on rank 1 ◀" in picture(study.explain("all_gather").data)
