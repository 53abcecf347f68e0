"""study.draw: the graph, the steps, the SVG and the page's data have the engine's numbers."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm import nn, study
from tinygrad_llm.autograd.engine import OPS
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.study.common.op_examples import EXAMPLES
from tinygrad_llm.study.common.source import backward_text
from tinygrad_llm.study.draw.data import drawing_data, heat
from tinygrad_llm.study.draw.graph import Box, Node
from tinygrad_llm.study.explain.op import as_tensors, call


def scalar_expression():
    a = torch.tensor(2.0, requires_grad=True)
    b = torch.tensor(-3.0, requires_grad=True)
    c = a * b
    d = c + a
    e = d.tanh() * c
    return a, b, e


def small_gpt(**changes):
    settings = {"vocab_size": 11, "context_length": 6, "emb_dim": 8, "n_heads": 2, "n_layers": 2}
    torch.manual_seed(0)
    model = GPT(GPTConfig(**{**settings, "drop_rate": 0.0, **changes}))
    rng = np.random.default_rng(0)
    x, y = (torch.tensor(rng.integers(0, 11, (2, 6))) for _ in range(2))
    return model, x, y


def items(box):
    for row in box.rows:
        for item in row:
            yield item
            if isinstance(item, Box):
                yield from items(item)


def test_a_scalar_expression_with_the_names_of_its_variables():
    a, b, e = scalar_expression()
    drawing = study.draw(e)
    labels = {(n.label, *n.names) for n in drawing.graph.nodes}
    assert labels == {("a",), ("b",), ("mul",), ("add",), ("tanh",), ("mul", "e")}
    assert [s.node.label for s in drawing.steps] == ["mul", "tanh", "add", "mul"]
    assert a.grad is None and b.grad is None
    e.backward()  # the graph is still there
    last = drawing.steps[-1]
    assert last.leaving[0].count == 2 and float(last.leaving[0].total) == a.grad.item()
    assert float(last.leaving[1].total) == b.grad.item()


def test_inside_a_function_every_value_and_name_is_known():
    a = torch.tensor([1.0, 2.0], requires_grad=True)

    def expression():
        double = a * 2.0
        return (double.exp() + double).sum()

    graph = study.draw(expression).graph
    assert [n.names for n in graph.nodes if n.label == "mul"] == [["double"]]
    assert all(v is not None for n in graph.nodes for v in n.values)
    exp = next(n for n in graph.nodes if n.label == "exp")
    np.testing.assert_allclose(exp.values[0], np.exp([2.0, 4.0]), rtol=1e-6)


def test_what_arrives_is_the_sum_of_what_left():
    model, x, y = small_gpt()
    drawing = study.draw(lambda: model.loss(x, y), model)
    sent = {}
    for step in drawing.steps:
        for out, arriving in enumerate(step.arriving):
            total = sent.get((step.node.id, out))
            if total is None:
                assert step.number == 1 or arriving is None
            else:
                np.testing.assert_allclose(arriving, total, rtol=1e-5, atol=1e-7)
        for a in step.leaving:
            key = (a.edge.source.id, a.edge.out)
            sent[key] = a.gradient if key not in sent else sent[key] + a.gradient
            np.testing.assert_allclose(a.total, sent[key], rtol=1e-5, atol=1e-7)


def test_the_leaves_get_the_gradients_of_backward():
    model, x, y = small_gpt()
    drawing = study.draw(lambda: model.loss(x, y), model)
    model.loss(x, y).backward()
    gradients = {a.edge.source.label: a.total for s in drawing.steps for a in s.leaving
             if a.edge.source.kind == "parameter"}  # fmt: skip
    for name, p in model.named_parameters():
        np.testing.assert_allclose(gradients[name], p.grad.numpy(), rtol=1e-4, atol=1e-6)
    tied = [a for s in drawing.steps for a in s.leaving if a.edge.source.label == "tok_emb.weight"]
    assert [a.count for a in tied] == [1, 2]


def test_modules_are_boxes_and_every_node_stands_in_one_row():
    model, x, y = small_gpt()
    graph = study.draw(lambda: model.loss(x, y), model).graph
    every = list(items(graph.boxes[0]))
    assert sorted(n.id for n in every if isinstance(n, Node)) == [n.id for n in graph.nodes]
    kinds = [b.kind for b in graph.boxes]
    assert kinds.count("TransformerBlock") == 2 and kinds.count("Attention") == 2
    attention = next(b for b in graph.boxes if b.kind == "Attention")
    assert attention.label == "att" and attention.parent.label == "trf_blocks.0"
    norm = next(b for b in graph.boxes if b.label == "norm1")
    assert {n.label for n in norm.items} == {
        "layer_norm",
        "trf_blocks.0.norm1.weight",
        "trf_blocks.0.norm1.bias",
    }


def test_rows_lead_downwards():
    model, x, y = small_gpt()
    graph = study.draw(lambda: model.loss(x, y), model).graph
    for box in graph.boxes:
        row_of = {}
        for number, row in enumerate(box.rows):
            for item in row:
                for node in item.nodes() if isinstance(item, Box) else [item]:
                    row_of[node.id] = (number, id(item))
        for e in graph.edges:
            a, b = row_of.get(e.source.id), row_of.get(e.target.id)
            if a and b and a[1] != b[1]:
                assert a[0] < b[0], (box.label, e.source.label, e.target.label)


def test_two_calls_of_one_module_are_two_boxes():
    layer = nn.Linear(2, 2)
    graph = study.draw(lambda: layer(layer(torch.ones(1, 2))).sum(), layer).graph
    assert [b.label for b in graph.boxes[1:]] == ["Linear", "Linear (call 2)"]
    shared = next(n for n in graph.nodes if n.label == "weight")
    assert shared.box is graph.boxes[0]


def test_a_broadcast_gradient_is_shown_in_the_input_s_shape():
    x = torch.ones(4, 3, requires_grad=True)
    b = torch.ones(3, requires_grad=True)
    steps = study.draw((x + b).sum()).steps
    assert [a.gradient.shape for a in steps[-1].leaving] == [(4, 3), (3,)]
    assert (steps[-1].leaving[1].gradient == 4.0).all()


def test_an_unused_output_gets_nothing():
    x = torch.arange(6.0).requires_grad_()
    first, _ = x.split(3)
    split = study.draw(first.sum()).steps[-1]
    assert split.arriving[1] is None and (split.leaving[0].gradient == [1, 1, 1, 0, 0, 0]).all()


def test_the_page_s_formulas_have_the_numbers():
    a, _, e = scalar_expression()
    drawing = study.draw(e)
    data = drawing_data(drawing.graph, drawing.steps, set(), "t")
    mul, tanh = data["steps"][0], data["steps"][1]
    assert mul["formulas"]["0"] == "g * y = 1 * -6 = -6"
    assert tanh["formulas"]["0"].startswith(
        "g * (1.0 - y * y) = -6 * (1.0 - -0.99933 * -0.99933) ="
    )
    assert tanh["lines"][0]["text"] == "def backward(self, g)"
    assert data["steps"][-1]["leaving"][0]["count"] == 2
    json.dumps(data)


def test_a_freed_graph_is_drawn_without_steps():
    a, _, e = scalar_expression()
    e.backward()
    drawing = study.draw(e)
    assert drawing.steps == []
    data = drawing_data(drawing.graph, drawing.steps, set(), "t")
    leaf = next(n for n in data["nodes"] if n["label"] == "a")
    assert data["arrays"][leaf["grad"]]["numbers"][0][0] == pytest.approx(a.grad.item(), rel=1e-5)
    drawing.html()
    drawing.svg()


def test_folding_by_room_or_as_asked():
    model, x, y = small_gpt()
    whole = study.draw(lambda: model.loss(x, y), model, fold=99)
    assert whole.folded == set()
    outer = study.draw(lambda: model.loss(x, y), model, fold=1)
    assert {b.depth for b in outer.graph.boxes if b.id in outer.folded} >= {1}
    auto = study.draw(lambda: model.loss(x, y), model)
    assert auto.folded and len(auto.svg()) < len(whole.svg())


def test_the_svg_is_complete():
    a, b, e = scalar_expression()
    root = ElementTree.fromstring(study.draw(e, title="a < b").svg())
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a", "b", "tanh", "grad 1"} <= set(texts)
    assert root.find("{http://www.w3.org/2000/svg}title").text == "a < b"
    paths = [p for p in root.iter("{http://www.w3.org/2000/svg}path") if p.get("class") == "edge"]
    assert len(paths) == 7


def test_nothing_in_the_svg_overlaps():
    model, x, y = small_gpt()
    root = ElementTree.fromstring(study.draw(lambda: model.loss(x, y), model, fold=99).svg())
    boxes = [
        tuple(float(r.get(k)) for k in ("x", "y", "width", "height"))
        for r in root.iter("{http://www.w3.org/2000/svg}rect")
        if (r.get("class") or "").startswith("node")
    ]
    for i, (x1, y1, w1, h1) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:i]:
            assert x1 + w1 <= x2 or x2 + w2 <= x1 or y1 + h1 <= y2 or y2 + h2 <= y1


def test_files(tmp_path):
    _, _, e = scalar_expression()
    study.draw(e, file=tmp_path / "graph")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.html", "graph.svg"]
    study.draw(e, file=tmp_path / "one.html")
    assert not (tmp_path / "one.svg").exists()
    with pytest.raises(ValueError, match=r"\.svg and \.html, not \.png"):
        study.draw(e, file=tmp_path / "one.png")


def test_the_page_needs_no_network_and_escapes():
    x = torch.ones(2, requires_grad=True)
    page = study.draw(x.exp().sum(), title="</script><b>").html()
    assert "&lt;/script&gt;&lt;b&gt;" in page and "</script><b>" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "http://" not in page.replace(
        "http://www.w3.org/2000/svg", ""
    )


def test_errors():
    with pytest.raises(RuntimeError, match="has no graph"):
        study.draw(torch.ones(2))
    with pytest.raises(TypeError, match="expected a tensor, or a function"):
        study.draw(3)
    with pytest.raises(TypeError, match="returned float, not a tensor"):
        study.draw(lambda: 1.0)


def test_a_leaf_alone_can_be_drawn():
    x = torch.tensor(1.0, requires_grad=True)
    drawing = study.draw(x)
    assert [n.label for n in drawing.graph.nodes] == ["x"] and drawing.steps == []
    drawing.html()


@given(st.integers(0, 70), st.integers(1, 70))
def test_a_heat_map_hides_nothing(rows, columns):
    a = np.zeros((rows, columns))
    if rows:
        a[rows // 2, columns // 2] = -3.0
    cells = heat(a) if a.size else None
    if cells is not None:
        assert cells["top"] == 3.0 and min(map(min, cells["rows"])) == -100
        assert len(cells["rows"]) <= 20 and len(cells["rows"][0]) <= 20
        assert len(cells["rows"]) * cells["cell"][0] >= rows


def test_the_derivation_is_the_docstring_s():
    from tinygrad_llm.ops import LayerNorm

    text = backward_text(LayerNorm)
    assert text.startswith("Backward, with g = ∂L/∂y") and "three paths" in text


def test_attention_maps_are_the_weights():
    model, x, _ = small_gpt()
    maps = study.draw_attention(model, x, tokens="a b c d e f".split())
    assert [(name, w.shape) for name, w in maps.maps] == [
        ("trf_blocks.0.att", (2, 6, 6)),
        ("trf_blocks.1.att", (2, 6, 6)),
    ]
    for _, w in maps.maps:
        np.testing.assert_allclose(w.sum(-1), 1.0, rtol=1e-5)
        assert (np.triu(w, 1) == 0).all()
    assert '"tokens":["a","b","c","d","e","f"]' in maps.html()


def test_maps_of_a_window_a_past_and_a_softcap():
    """What the op does with its options, from the definition."""
    layer = Attention(8, 2, n_kv_heads=1, window=3, softcap=0.7)
    x = torch.tensor(np.random.default_rng(0).normal(size=(1, 6, 8)).astype("float32"))
    ((_, whole),) = study.draw_attention(layer, x).maps  # (H, 6, 6)
    i, j = np.arange(6)[:, None], np.arange(6)
    seen = (j <= i) & (j > i - 3)
    assert ((whole > 0) == seen).all()
    q, k, _ = (layer.qkv(x)[0].detach().numpy()[:, a] for a in np.split(np.arange(16), [8, 12]))
    scores = np.stack([q[:, h] @ k.T for h in (slice(0, 4), slice(4, 8))]) / 2  # (H, 6, 6)
    weights = np.where(seen, np.exp(0.7 * np.tanh(scores / 0.7)), 0.0)
    np.testing.assert_allclose(whole, weights / weights.sum(-1, keepdims=True), rtol=1e-4)
    with torch.no_grad():
        cache = layer.new_cache(6)
        layer(x[:, :4], cache=cache)
        ((_, last),) = study.draw_attention(lambda x: layer(x, cache=cache), x[:, 4:]).maps
    np.testing.assert_allclose(last, whole[:, 4:, 2:], rtol=1e-4, atol=1e-7)


def test_attention_of_primitives_is_recognised_too():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.tensor(np.random.default_rng(0).normal(size=(1, 4, 8)).astype("float32"))
    maps = study.draw_attention(attention, x, x, x).maps
    _, weights = attention(x, x, x, average_attn_weights=False)
    np.testing.assert_allclose(maps[0][1], weights.detach().numpy()[0], rtol=1e-5)
    with pytest.raises(ValueError, match="neither an attention"):
        study.draw_attention(nn.Linear(2, 2), torch.ones(1, 2))


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_op_can_be_traced_and_drawn(name):
    example = EXAMPLES[name]
    tensors = as_tensors(example.inputs, example.constant)
    with study.trace() as t:
        root = sum(y.sum() for y in call(OPS[name], example, tensors))
        drawing = study.draw(root)
        root.backward()
    record = next(op for op in t.ops if op.name == name)
    assert record.backward > 0 and record.grad_out is not None and record.line is not None
    step = next(s for s in drawing.steps if s.node.label == name)
    assert step.leaving and step.lines and backward_text(type(step.node.op))
    leaves = {id(n.tensor): n for n in drawing.graph.nodes if n.tensor is not None}
    totals = {a.edge.source.id: a.total for s in drawing.steps for a in s.leaving}
    for x in tensors:
        if isinstance(x, torch.Tensor) and x.requires_grad:
            np.testing.assert_allclose(totals[leaves[id(x)].id], x.grad.numpy(), rtol=1e-9)
    assert f'"label":"{name}"' in drawing.html() and name in drawing.svg()


def test_on_every_device(device):
    model, x, y = small_gpt()
    model, x, y = model.to(device), x.to(device), y.to(device)
    drawing = study.draw(lambda: model.loss(x, y), model)
    model.loss(x, y).backward()
    total = {a.edge.source.label: a.total for s in drawing.steps for a in s.leaving}
    p = model.trf_blocks[0].norm1.weight
    np.testing.assert_allclose(
        np.asarray(total["trf_blocks.0.norm1.weight"].tolist()), p.grad.tolist(), rtol=1e-4
    )
    drawing.html()
    drawing.svg()
    maps = study.draw_attention(model, x)
    np.testing.assert_allclose(maps.maps[0][1].sum(-1), 1.0, rtol=1e-5)
