"""study.trace: what it records, what it draws, and that it leaves nothing behind."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.autograd import engine
from tinygrad_llm.autograd.engine import Op
from tinygrad_llm.nn.module import Module, call_observers
from tinygrad_llm.study.trace.recording import trace


def make_model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))


def traced():
    model = make_model()
    x = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])
    with trace(model) as t:
        loss = (model(x) * 2.0).sum()
        loss.backward()
    return model, x, loss, t


def test_ops_come_in_order_with_their_modules():
    _, _, _, t = traced()
    assert [(op.number, op.name, op.path) for op in t.ops] == [
        (1, "linear", "0"),
        (2, "relu", "1"),
        (3, "linear", "2"),
        (4, "mul", ""),
        (5, "sum", ""),
    ]
    assert t.ops[0].inputs == ((2, 3), (4, 3), (4,)) and t.ops[0].outputs == ((2, 4),)
    assert all(op.forward > 0 and op.backward > 0 for op in t.ops)
    assert list(t.modules) == ["", "0", "1", "2"]
    assert [op.number for op in t.modules[""].ops] == [1, 2, 3]
    assert t.modules["1"].kind == "ReLU" and t.modules["1"].depth == 1


def test_numbers_are_those_of_the_arrays():
    model = make_model()
    x = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])
    with trace(model) as t:
        hidden = model[1](model[0](x))
        hidden.retain_grad()
        loss = model[2](hidden).sum()
        loss.backward()
    relu = t.ops[1]
    h = hidden.detach().numpy()
    assert relu.largest == pytest.approx(np.abs(h).max())
    assert relu.zeros == pytest.approx((h == 0).mean())
    assert relu.grad_in == pytest.approx(np.linalg.norm(hidden.grad.numpy()))
    assert relu.grad_out == pytest.approx(np.linalg.norm(hidden.grad.numpy() * (h > 0)))
    assert t.parameters["0.weight"] == pytest.approx(np.linalg.norm(model[0].weight.grad.numpy()))
    assert t.modules["1"].grad == relu.grad_in


def test_gradients_are_the_same_with_and_without():
    model = make_model()
    x = torch.tensor([[1.0, 2.0, 3.0]])
    model(x).sum().backward()
    plain = [p.grad.numpy().copy() for p in model.parameters()]
    model.zero_grad()
    with trace(model):
        model(x).sum().backward()
    for p, g in zip(model.parameters(), plain, strict=True):
        assert (p.grad.numpy() == g).all()


def test_saved_bytes_count_memory_once_and_leave_out_parameters():
    x = torch.ones(100, requires_grad=True)
    with trace() as t:
        y = x.exp()  # saves y
        z = y.exp()  # saves z
        w = z * z  # saves z twice, which is there already
        held = t._ledger.now
        w.sum().backward()
    exp1, exp2, mul, total = t.ops
    assert (exp1.new, exp2.new, mul.saved, mul.new, total.saved) == (400, 400, 400, 0, 0)
    assert held == t.peak == 800
    assert max(n for _, n in t.memory) == 800


def test_memory_falls_as_backward_passes():
    x = torch.ones(100, requires_grad=True)
    with trace() as t:
        y = x
        for _ in range(4):
            y = y.exp() * 0.1
        loss = y.sum()
        del y
        loss.backward()
    assert t.peak == 1600
    assert t.memory[-1][1] == 0


def test_nothing_is_left_behind():
    lists = engine.start_observers, engine.observers, engine.backward_observers, call_observers
    methods = [Op.__dict__["apply"], Op.__dict__["backward"], Module.__dict__["__call__"]]
    model = make_model()
    with trace(model), trace():
        y = model(torch.ones(1, 3)).exp()
        assert [len(each) for each in lists] == [2, 2, 2, 2]
        assert methods == [Op.__dict__["apply"], Op.__dict__["backward"], Module.__call__]
        assert "backward" not in vars(y.grad_fn) and len(y.grad_fn.hooks[0]) == 2
    with pytest.raises(ZeroDivisionError), trace():
        _ = 1 / 0
    assert lists == ([], [], [], []) and not y.grad_fn.hooks[0]
    y.sum().backward()


def test_two_traces_together_both_see_everything():
    x = torch.ones(3, requires_grad=True)
    with trace() as outer, trace() as inner:
        x.exp().sum().backward()
    assert [op.name for op in outer.ops] == [op.name for op in inner.ops] == ["exp", "sum"]
    assert all(op.grad_in is not None for t in (outer, inner) for op in t.ops[-1:])
    assert inner.ops[0].backward > 0


def test_the_first_bad_op_is_named_with_its_inputs_and_line():
    a = torch.tensor([1.0, 0.0], requires_grad=True)
    with trace() as t, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        b = a * 1.0
        c = b.log()  # the culprit
        (c * 0.0).sum()
    assert t.first_bad is not None
    assert (t.first_bad.op.name, t.first_bad.direction) == ("log", "forward")
    text = str(t.autopsy())
    assert "from 0 to 1" in text and "1 of 2 not finite" in text
    assert "test_study_trace.py" in text and "c = b.log()  # the culprit" in text


def test_a_bad_gradient_is_detected_in_backward():
    a = torch.tensor([4.0, 0.0], requires_grad=True)
    with trace() as t, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a.sqrt().sum().backward()
    assert t.first_bad.direction == "backward" and t.first_bad.op.name == "sqrt"


def test_a_mask_of_infinities_is_not_blamed():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    mask = torch.tensor([[False, True], [False, False]])
    with trace() as t:
        torch.softmax(x.masked_fill(mask, -float("inf")), dim=-1).sum().backward()
    assert t.first_bad is None and "none of 3 ops" in t.autopsy()
    every = torch.tensor([[True, True], [False, False]])
    with trace() as t, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.softmax(x.masked_fill(every, -float("inf")), dim=-1)
    assert t.first_bad.op.name == "softmax"


def test_an_error_in_backward_carries_the_line():
    class Broken(Op):
        """y = x. Backward returns the wrong shape."""

        name = "broken_for_trace"

        def forward(self, x):
            return x.copy()

        def backward(self, g):
            return g[:1]

    engine.OPS.pop("broken_for_trace")
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="returned a gradient of shape") as info, trace():
        y = Broken.apply(x)  # this line
        y.sum().backward()
    assert "y = Broken.apply(x)  # this line" in str(info.value)


def test_the_error_for_an_in_place_change_names_the_line_and_the_module():
    class Layer(nn.Module):
        def forward(self, x):
            return x.exp()

    layer = Layer()
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="modified by an inplace") as info, trace(layer):
        y = layer(x)
        y.add_(1.0)
        y.sum().backward()
    assert "return x.exp()" in str(info.value)


def test_a_module_that_is_called_twice_counts_twice():
    layer = nn.Linear(2, 2)
    with trace(layer) as t:
        layer(layer(torch.ones(1, 2)))
    assert t.modules[""].calls == 2 and len(t.modules[""].ops) == 2


def test_modules_without_a_given_model_are_named_when_called():
    model = make_model()
    with trace() as t:
        model(torch.ones(1, 3)).sum().backward()
    assert [op.path for op in t.ops] == ["0", "1", "2", ""]
    assert "0.weight" in t.parameters


def test_tables():
    _, _, _, t = traced()
    ops, modules = t.table(), t.table("module")
    assert repr(ops) == str(ops)
    rows = [line.split() for line in ops.splitlines()]
    assert ["1", "0", "linear"] in [row[:3] for row in rows]
    assert any("Linear" in line for line in modules.splitlines())
    assert "5 ops" in ops
    assert all(len(line) <= 100 for line in t.table(width=100).splitlines())
    with pytest.raises(ValueError, match='by is "op", "module", "flops" or'):
        t.table(by="layer")


def test_plot_and_page_and_numbers(tmp_path):
    _, _, _, t = traced()
    t.plot(tmp_path / "trace.png")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")
    page = t.html(tmp_path / "trace.html")
    assert (tmp_path / "trace.html").read_text("utf-8") == page
    assert "<polyline" in page and "linear" in page and "http" not in page.replace("http-equiv", "")
    data = json.loads(json.dumps(t.as_dict()))
    assert data["ops"][0]["name"] == "linear" and data["modules"][0]["class"] == "Sequential"


def test_without_backward_gradients_are_none():
    with torch.no_grad(), trace() as t:
        torch.ones(3).exp()
    assert t.ops[0].grad_in is None and t.ops[0].saved == 0 and not t.ops[0].tracked
    assert "1 ops" in t.table()
    t.html()


def test_what_is_not_a_model_is_refused():
    with pytest.raises(TypeError, match="expected a model"):
        trace(lambda x: x)


def test_on_every_device(device):
    model = make_model().to(device)
    x = torch.tensor([[1.0, 2.0, 3.0]]).to(device)
    with trace(model) as t:
        model(x).sum().backward()
    assert all(op.grad_in is not None and op.grad_in > 0 for op in t.ops)
    assert t.peak > 0 and "linear" in t.table()
