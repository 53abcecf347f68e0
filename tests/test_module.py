"""Module: what it finds, what it saves and loads, and how it prints."""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(tg.ones(2))
        self.first = nn.Linear(2, 3)
        self.register_buffer("mask", tg.zeros(3))
        self.register_buffer("scratch", tg.zeros(1), persistent=False)
        self.second = nn.Linear(3, 2, bias=False)
        self.hidden_in_a_list = [nn.Linear(1, 1)]
        self.number = 3

    def forward(self, x):
        return self.second(self.first(x * self.scale) + self.mask)


def names(module):
    return [name for name, _ in module.named_parameters()]


def test_walks_find_parameters_buffers_and_modules_in_order():
    block = Block()
    assert names(block) == ["scale", "first.weight", "first.bias", "second.weight"]
    assert [n for n, _ in block.named_buffers()] == ["mask", "scratch"]
    assert [n for n, _ in block.named_modules()] == ["", "first", "second"]
    assert [n for n, _ in block.named_children()] == ["first", "second"]
    assert list(block.state_dict()) == [
        "scale", "mask", "first.weight", "first.bias", "second.weight"
    ]  # fmt: skip
    assert len(list(block.parameters(recurse=False))) == 1
    assert sum(1 for _ in block.modules()) == 3


def test_the_order_is_the_order_of_registration():
    module = nn.Module()
    module.a = None
    module.b = nn.Linear(1, 1)
    module.a = nn.Linear(1, 1)  # was a plain None: it comes after b
    assert [n for n, _ in module.named_children()] == ["b", "a"]
    module.b = nn.Identity()  # the same kind of thing: it keeps its place
    assert [n for n, _ in module.named_children()] == ["b", "a"]
    module.b = nn.Parameter(tg.ones(1))
    module.register_parameter("late", None)
    module.c = nn.Parameter(tg.ones(1))
    module.late = nn.Parameter(tg.ones(1))  # its place was kept
    assert names(module) == ["b", "late", "c", "a.weight", "a.bias"]
    del module.b
    assert names(module) == ["late", "c", "a.weight", "a.bias"]
    assert not hasattr(module, "b")


def test_tied_parameters_and_shared_modules_come_once_but_are_saved_under_each_name():
    model = nn.Module()
    model.emb = nn.Embedding(5, 2)
    model.head = nn.Linear(2, 5, bias=False)
    model.head.weight = model.emb.weight
    model.again = model.head
    assert names(model) == ["emb.weight"]
    assert [n for n, _ in model.named_parameters(remove_duplicate=False)] == [
        "emb.weight", "head.weight", "again.weight"
    ]  # fmt: skip
    assert [n for n, _ in model.named_modules()] == ["", "emb", "head"]
    assert list(model.state_dict()) == ["emb.weight", "head.weight", "again.weight"]
    twin = copy.deepcopy(model)
    assert twin.head.weight is twin.emb.weight
    assert twin.head.weight is not model.head.weight
    assert names(twin) == ["emb.weight"]


def test_gradients_of_tied_weights_add_up():
    model = nn.Module()
    model.emb = nn.Embedding(3, 2)
    model.head = nn.Linear(2, 3, bias=False)
    model.head.weight = model.emb.weight
    ids = tg.tensor([0, 2, 2])
    model.head(model.emb(ids)).sum().backward()
    w = model.emb.weight.array
    by_lookup = np.zeros_like(w)
    np.add.at(by_lookup, [0, 2, 2], w.sum(0))
    by_product = np.broadcast_to(w[[0, 2, 2]].sum(0), w.shape)
    np.testing.assert_allclose(model.emb.weight.grad.array, by_lookup + by_product, rtol=1e-5)


def test_assigning_the_wrong_thing_is_an_error():
    block = Block()
    with pytest.raises(TypeError, match="cannot assign 'Tensor' as parameter 'scale'"):
        block.scale = tg.ones(2)
    with pytest.raises(TypeError, match="cannot assign 'int' as child module 'first'"):
        block.first = 3
    with pytest.raises(TypeError, match="cannot assign 'float' as buffer 'mask'"):
        block.mask = 1.0
    block.mask = tg.ones(3)  # a tensor may replace a buffer
    assert "mask" in block.state_dict()
    block.first = None
    assert [n for n, _ in block.named_children()] == ["second"]


def test_registering_checks_names_and_kinds():
    module = nn.Module()
    module.taken = 1
    for register in (module.register_buffer, module.register_parameter, module.add_module):
        with pytest.raises(KeyError, match="name can"):
            register("a.b", None)
        with pytest.raises(KeyError, match="empty string"):
            register("", None)
        with pytest.raises(KeyError, match="already exists"):
            register("taken", None)
        with pytest.raises(TypeError, match="should be a string"):
            register(3, None)
        with pytest.raises(TypeError, match="cannot assign 'int' object"):
            register("x", 5)
    with pytest.raises(ValueError, match="non-leaf"):
        p = nn.Parameter(tg.ones(1))
        q = nn.Parameter(tg.ones(1))
        q._op = (p * 2)._op
        module.register_parameter("w", q)


def test_the_constructor_must_be_called_first():
    class Forgot(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call"):
        Forgot()


def test_get_and_set_submodule():
    model = nn.Sequential(nn.Linear(1, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 1)))
    assert model.get_submodule("") is model
    assert model.get_submodule("1.1") is model[1][1]
    assert model.get_parameter("1.1.bias") is model[1][1].bias
    model.set_submodule("1.0", nn.Tanh())
    assert isinstance(model[1][0], nn.Tanh)
    with pytest.raises(AttributeError, match="has no attribute `7`"):
        model.get_submodule("7")
    with pytest.raises(AttributeError, match="is not an nn.Module"):
        model.get_submodule("0.bias")
    with pytest.raises(AttributeError, match="is not a parameter"):
        model.get_parameter("1.1")
    block = Block()
    assert block.get_buffer("mask") is block.mask


def test_train_eval_apply_freeze_and_zero_grad():
    block = Block()
    assert block.training and block.first.training
    assert block.eval() is block and not block.first.training
    block.train()
    assert block.second.training
    with pytest.raises(ValueError, match="boolean"):
        block.train(1)
    seen = []
    block.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Linear", "Block"]
    block(tg.ones(4, 2)).sum().backward()
    assert all(p.grad is not None for p in block.parameters())
    block.zero_grad(set_to_none=False)
    assert all((p.grad.array == 0).all() for p in block.parameters())
    block.zero_grad()
    assert all(p.grad is None for p in block.parameters())
    block.requires_grad_(False)
    assert not any(p.requires_grad for p in block.parameters())
    assert not block(tg.ones(4, 2)).requires_grad


def test_to_changes_the_dtype_of_the_same_parameters():
    block = Block()
    block.register_buffer("ids", tg.tensor([1, 2]))
    before = list(block.parameters())
    block(tg.ones(1, 2)).sum().backward()
    assert block.double() is block
    assert [p is q for p, q in zip(before, block.parameters(), strict=True)] == [True] * 4
    assert all(p.dtype == tg.float64 and p.grad.dtype == tg.float64 for p in block.parameters())
    assert block.mask.dtype == tg.float64 and block.ids.dtype == tg.int64
    assert block.to(tg.float16).scale.dtype == tg.float16
    assert block.to("cpu", tg.float32).scale.dtype == tg.float32
    assert block.to(tg.zeros(1, dtype=tg.float64)).scale.dtype == tg.float64
    assert block.float().half().scale.dtype == tg.float16
    assert block.type(tg.float64).ids.dtype == tg.float64
    with pytest.raises(TypeError, match="only accepts floating point"):
        block.to(tg.int64)
    with pytest.raises(TypeError, match="unexpected keyword"):
        block.to(devise="cpu")


def test_moving_to_a_device(device):
    block = Block()
    values = [p.array.copy() for p in block.parameters()]
    block(tg.ones(1, 2)).sum().backward()
    assert (block.cuda() if device == "cuda" else block.cpu()) is block
    assert block.scale.device.type == block.mask.device.type == device
    assert block.scale.grad.device.type == device and block.scale.requires_grad
    optimizer = tg.optim.AdamW(block.parameters())
    block(tg.ones(1, 2).to(device)).sum().backward()
    optimizer.step()
    assert all(e["exp_avg"].device.type == device for e in optimizer.state.values())
    block.load_state_dict({k: v.cpu() for k, v in block.state_dict().items()})
    block.cpu()
    for p, before in zip(block.parameters(), values, strict=True):
        assert not np.array_equal(p.array, before)
    made = nn.Linear(2, 3, device=device)
    assert made.bias.device.type == device


def test_state_dict_shares_memory_and_loads_into_place():
    block, other = Block(), Block()
    state = block.state_dict()
    assert isinstance(state, OrderedDict)
    assert state["scale"].array is block.scale.array and not state["scale"].requires_grad
    weight = other.first.weight
    result = other.load_state_dict(state)
    assert repr(result) == "<All keys matched successfully>"
    assert other.first.weight is weight and weight.array is not block.first.weight.array
    for p, q in zip(block.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.array, q.array)
    # half precision and arrays are cast on the way in
    other.load_state_dict({k: v.array.astype(np.float64) for k, v in state.items()})
    assert other.scale.dtype == tg.float32


def test_load_state_dict_lists_everything_that_is_wrong_and_changes_nothing():
    block = Block()
    before = {k: v.array.copy() for k, v in block.state_dict().items()}
    state = {k: v + 1 for k, v in block.state_dict().items()}
    del state["scale"], state["first.bias"]
    state["stray"] = state["other.stray"] = tg.ones(1)
    state["second.weight"] = tg.ones(3, 2)
    state["mask"] = "text"
    with pytest.raises(RuntimeError) as error:
        block.load_state_dict(state)
    text = str(error.value)
    assert text.startswith("Error(s) in loading state_dict for Block:\n\t")
    assert 'Missing key(s) in state_dict: "scale", "first.bias". ' in text
    assert 'Unexpected key(s) in state_dict: "stray", "other.stray". ' in text
    assert (
        "size mismatch for second.weight: copying a param with shape torch.Size([3, 2]) from "
        "checkpoint, the shape in current model is torch.Size([2, 3])." in text
    )
    assert 'parameter named "mask"' in text
    for key, tensor in block.state_dict().items():
        np.testing.assert_array_equal(tensor.array, before[key])
    with pytest.raises(TypeError, match="dict-like"):
        block.load_state_dict([1])


def test_load_state_dict_not_strict_and_assign():
    block = Block()
    result = block.load_state_dict({"scale": tg.full((2,), 5.0), "more": tg.ones(1)}, strict=False)
    assert result.missing_keys == ["mask", "first.weight", "first.bias", "second.weight"]
    assert result.unexpected_keys == ["more"] and "unexpected_keys=['more']" in repr(result)
    assert block.scale.tolist() == [5.0, 5.0]
    with pytest.raises(RuntimeError, match="size mismatch for scale"):
        block.load_state_dict({"scale": tg.ones(3)}, strict=False)
    given = tg.full((2,), 7.0)
    block.load_state_dict({"scale": given}, strict=False, assign=True)
    assert block.scale.array is given.array and isinstance(block.scale, nn.Parameter)
    assert names(block)[0] == "scale"


def test_loading_after_forward_is_noticed_by_backward():
    layer = nn.Linear(2, 2)
    x = tg.ones(1, 2).requires_grad_()
    y = layer(x).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="load_state_dict"):
        y.backward()


def test_printing():
    model = nn.Sequential(
        OrderedDict(
            emb=nn.Embedding(4, 2, padding_idx=0),
            drop=nn.Dropout(0.1),
            body=nn.Sequential(nn.Linear(2, 3), nn.GELU(approximate="tanh"), nn.LayerNorm(3)),
            out=nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.Tanh(), nn.Tanh()]),
        )
    )
    assert repr(model) == (
        "Sequential(\n"
        "  (emb): Embedding(4, 2, padding_idx=0)\n"
        "  (drop): Dropout(p=0.1, inplace=False)\n"
        "  (body): Sequential(\n"
        "    (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "    (1): GELU(approximate='tanh')\n"
        "    (2): LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)\n"
        "  )\n"
        "  (out): ModuleList(\n"
        "    (0): ReLU()\n"
        "    (1-3): 3 x Tanh()\n"
        "  )\n"
        ")"
    )


def test_hooks_see_and_replace():
    layer = nn.Identity()
    handle = layer.register_forward_pre_hook(lambda m, args: args[0] + 1)
    later = layer.register_forward_hook(lambda m, args, out: out * 10)
    with layer.register_forward_hook(lambda m, args, out: out + 1, prepend=True):
        assert layer(tg.tensor(1.0)).item() == 30.0
    assert layer(tg.tensor(1.0)).item() == 20.0
    handle.remove()
    later.remove()
    assert layer(tg.tensor(1.0)).item() == 1.0


def test_sequential_is_a_list():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(model) == 3 and isinstance(model[-1], nn.Linear)
    assert [type(m).__name__ for m in model[1:]] == ["ReLU", "Linear"]
    x = tg.ones(5, 2)
    np.testing.assert_array_equal(model(x).array, model[2](model[1](model[0](x))).array)
    model.append(nn.Tanh())
    model.insert(1, nn.Identity())
    assert list(dict(model.named_children())) == ["0", "1", "2", "3", "4"]
    assert isinstance(model.pop(1), nn.Identity) and len(model) == 4
    model[1] = nn.Sigmoid()
    assert isinstance(model[1], nn.Sigmoid)
    del model[0:2]
    assert [n for n, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    both = model + nn.Sequential(nn.ReLU())
    assert len(both) == 3 and len(model) == 2
    with pytest.raises(IndexError, match="out of range"):
        model[9]
    with pytest.raises(ValueError, match="Sequential"):
        model + [1]


def test_lists_and_dicts_of_modules_and_parameters():
    modules = nn.ModuleList([nn.Linear(1, 1)])
    modules.extend([nn.ReLU()]).append(nn.Tanh())
    modules += [nn.Sigmoid()]
    assert len(modules) == 4 and type(modules[1:3]) is nn.ModuleList
    assert len(modules + [nn.ReLU()]) == 5
    assert isinstance(modules.pop(-1), nn.Sigmoid) and "0" not in dir(modules)
    with pytest.raises(IndexError, match="out of range"):
        modules.insert(9, nn.ReLU())

    by_name = nn.ModuleDict({"a": nn.Linear(1, 2), "b": nn.ReLU()})
    by_name["c"] = nn.Tanh()
    assert list(by_name) == ["a", "b", "c"] and "b" in by_name and len(by_name) == 3
    assert isinstance(by_name.pop("b"), nn.ReLU) and list(by_name.keys()) == ["a", "c"]
    assert [n for n, _ in by_name.named_parameters()] == ["a.weight", "a.bias"]
    by_name.clear()
    assert not list(by_name.items()) and not list(by_name.values())

    params = nn.ParameterList([tg.ones(2), nn.Parameter(tg.ones(3))])
    params.append(tg.zeros(1))
    params[0] = tg.zeros(2)
    assert [n for n, _ in params.named_parameters()] == ["0", "1", "2"]
    assert params[0].tolist() == [0.0, 0.0]
    assert "(1): Parameter containing: [torch.float32 of size 3]" in repr(params)

    table = nn.ParameterDict({"w": tg.ones(2)})
    table["v"] = tg.ones(1)
    assert names(table) == ["w", "v"] and "w" in table and len(table) == 2
    del table["w"]
    assert list(table.items())[0][0] == "v" and len(list(table.values())) == 1


def test_parameters():
    t = tg.ones(3)
    p = nn.Parameter(t)
    assert p.requires_grad and p.is_leaf and p.array is t.array
    assert repr(p).startswith("Parameter containing:\ntensor([1., 1., 1.], requires_grad=True)")
    assert not nn.Parameter(tg.tensor([1, 2]), requires_grad=False).requires_grad
    with pytest.raises(RuntimeError, match="floating point"):
        nn.Parameter(tg.tensor([1, 2]))
    with pytest.raises(TypeError, match="expects a Tensor"):
        nn.Parameter([1.0])
    assert isinstance(copy.deepcopy(p), nn.Parameter)


def test_clip_grad_norm():
    a, b = nn.Parameter(tg.zeros(3)), nn.Parameter(tg.zeros(2, 2))
    a.grad, b.grad = tg.tensor([3.0, 0.0, 0.0]), tg.full((2, 2), 2.0)
    assert nn.utils.clip_grad_norm_([a, b], 100.0).item() == 5.0
    assert a.grad.tolist() == [3.0, 0.0, 0.0]
    norm = nn.utils.clip_grad_norm_([a, b], 1.0)
    assert norm.item() == 5.0 and norm.dtype == tg.float32
    np.testing.assert_allclose(a.grad.array, [0.6, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(nn.utils.get_total_norm([a.grad, b.grad]).item(), 1.0, rtol=1e-6)
    assert nn.utils.get_total_norm([a.grad, b.grad], float("inf")).item() == pytest.approx(0.6)
    assert nn.utils.get_total_norm([a.grad, b.grad], 1).item() == pytest.approx(0.6 + 4 * 0.4)
    nn.utils.clip_grad_value_([a, b], 0.5)
    assert a.grad.tolist() == [0.5, 0.0, 0.0]
    a.grad = tg.tensor([float("nan"), 0.0, 0.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_([a, b], 1.0, error_if_nonfinite=True)
    with pytest.warns(UserWarning, match="empty generator"):
        assert nn.utils.clip_grad_norm_((p for p in []), 1.0).item() == 0.0


def test_clip_grad_norm_of_many_and_of_half():
    big = nn.Parameter(tg.zeros(300_000))
    big.grad = tg.full((300_000,), 0.1)
    assert nn.utils.clip_grad_norm_(big, 1e9).item() == pytest.approx(0.1 * 300_000**0.5, 1e-6)
    half = nn.Parameter(tg.zeros(4, dtype=tg.float16))
    half.grad = tg.full((4,), 300.0, dtype=tg.float16)  # the squares overflow float16
    assert nn.utils.clip_grad_norm_(half, 6.0).item() == 600.0
    assert half.grad.dtype == tg.float16
    np.testing.assert_allclose(half.grad.array, 3.0, rtol=1e-3)


def test_parameters_to_vector_and_back():
    model = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (9,) and vector.tolist()[:6] == model.weight.flatten().tolist()
    nn.utils.vector_to_parameters(tg.arange(9.0), model.parameters())
    assert model.bias.tolist() == [6.0, 7.0, 8.0]
    with pytest.raises(TypeError, match="expected torch.Tensor"):
        nn.utils.vector_to_parameters([1.0], model.parameters())


def test_what_is_not_there_names_the_nearest():
    with pytest.raises(AttributeError, match="tinygrad_llm.nn has no 'LayerNorm2': .* LayerNorm"):
        nn.LayerNorm2  # noqa: B018
    with pytest.raises(AttributeError, match="tinygrad_llm.optim has no 'AdamX': .* Adam"):
        tg.optim.AdamX  # noqa: B018
    assert not hasattr(nn, "Conv2d")
