"""Errors have PyTorch's class, and one line that says what was wrong."""

from __future__ import annotations

import pytest

import tinygrad_llm

torch = pytest.importorskip("torch")

WRONG = """
float(torch.tensor([1.0, 2.0]))
int(torch.tensor([]))
bool(torch.ones(2))
torch.ones(2).item()
torch.ones(2) & 1
torch.ones(2) | torch.ones(2)
torch.arange(3).softmax(0)
torch.cat([])
torch.cat([torch.ones(1), 3])
torch.stack([])
torch.stack([torch.ones(1), 1])
torch.hstack([])
torch.ones(2, 3) @ torch.ones(2, 3)
torch.ones(2, 3) + torch.ones(4)
torch.ones(2, 3).view(4)
torch.ones(2, 3)[2]
torch.ones(2, 3).sum(5)
torch.ones(3, dtype=torch.int64).mean()
torch.ones(2, dtype=torch.bool) - torch.ones(2, dtype=torch.bool)
torch.ones(2).backward()
torch.ones(2, requires_grad=True).numpy()
torch.ones(2, requires_grad=True).add_(1)
torch.nn.Module()(1)
torch.nn.Linear(3, 4)(torch.ones(2, 5))
torch.nn.Linear(2, 2).load_state_dict({})
torch.nn.Dropout(2.0)
torch.nn.Embedding(3, 2)(torch.tensor([5]))
torch.nn.ModuleList([1])
torch.nn.functional.cross_entropy(torch.ones(2, 3), torch.tensor([0, 5]))
torch.nn.functional.gelu(torch.ones(2), approximate="x")
torch.optim.AdamW([], lr=1)
torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=-1)
torch.multinomial(torch.tensor([0.5, 0.5]), 3)
torch.tensor([[1, 2], [3]])
torch.topk(torch.ones(3), 5)
torch.from_numpy([1])
torch.ones(2).foo
torch.nn.functional.foo
torch.argmax([1])
torch.argmax(input=[1])
torch.sum([1.0, 2.0])
torch.mean((1.0, 2.0), 0)
torch.max([1.0])
torch.matmul([[1.0]], torch.ones(1, 1))
torch.mul([1.0], 2)
torch.mul(torch.ones(1), [1.0])
torch.sub([1.0], 2)
torch.reshape([1.0], (1, 1))
torch.flip([1.0], (0,))
torch.topk([1.0], 1)
torch.tril([[1.0]])
torch.hstack([])
torch.vstack([])
torch.vstack(None)
torch.where(torch.tensor([True]), [1], 2)
torch.where(torch.tensor([1, 2]), 1, 2)
torch.nn.functional.one_hot([1])
torch.ones(2).add([1])
torch.ones(2).mul("a")
torch.ones(2).eq([1, 1])
torch.ones(2).maximum([1, 1])
""".strip().splitlines()

# An argument is not a tensor: the message says which one (as PyTorch's) and in which function.
NO_TENSOR = """
torch.hstack([[1, 2], [3, 4]])
torch.hstack([torch.ones(2), [1, 2]])
torch.vstack([1, 2])
torch.dstack([torch.ones(1), 2])
torch.column_stack([[1, 2]])
torch.meshgrid([1, 2], [3, 4])
torch.meshgrid([[1, 2], [3, 4]])
torch.meshgrid(3)
torch.meshgrid(torch.ones(2), [1], indexing="ij")
torch.broadcast_tensors([1], [2])
torch.cartesian_prod(torch.ones(1), [2])
torch.einsum("i,i", [1], [2])
torch.einsum("i,i", torch.ones(1), [2])
torch.where(3)
torch.numel([1])
torch.combinations([1])
torch.nn.functional.pad([1.0], (1, 1))
torch.gather(torch.ones(3), 0, [0])
torch.gather(torch.ones(3), 0, index=[0])
torch.index_select(torch.ones(3), 0, [0])
torch.ones(3).gather(0, [0])
torch.ones(3).index_select(0, [0])
torch.ones(3).view_as([1])
torch.ones(3).expand_as(3)
torch.ones(3).matmul([1, 2])
torch.matmul(torch.ones(3), [1, 2])
""".strip().splitlines()


def raised(library, line):
    with pytest.raises(Exception) as caught:
        eval(line, {"torch": library})
    return caught.value


@pytest.mark.parametrize("line", WRONG)
def test_error_class(line):
    ours, theirs = raised(tinygrad_llm, line), raised(torch, line)
    assert type(ours) is type(theirs), (ours, theirs)
    assert str(ours).strip()


@pytest.mark.parametrize("line", NO_TENSOR)
def test_the_message_names_the_argument(line):
    ours, theirs = raised(tinygrad_llm, line), raised(torch, line)
    assert type(ours) is type(theirs) is TypeError
    assert str(theirs).removeprefix("expected") in str(ours)


def test_from_dlpack_shares_memory_both_ways():
    theirs = torch.arange(6.0).reshape(2, 3)
    ours = tinygrad_llm.from_dlpack(theirs)
    assert ours.tolist() == theirs.tolist()
    theirs[0, 0] = 7
    assert ours[0, 0].item() == 7
    made = tinygrad_llm.ones(2)
    torch.from_dlpack(made)[1] = 5
    assert made.tolist() == [1, 5]
    with pytest.raises(TypeError, match="__dlpack__"):
        tinygrad_llm.from_dlpack([1.0])


def test_copy_copy_shares_memory():
    import copy

    for library in (torch, tinygrad_llm):
        x = library.ones(2, requires_grad=True)
        shallow = copy.copy(x)
        assert shallow.requires_grad and shallow.is_leaf and shallow is not x
        assert shallow.data_ptr() == x.data_ptr()
        assert isinstance(copy.copy(library.nn.Parameter(x)), library.nn.Parameter)


@pytest.mark.parametrize("name", ["cros_entropy", "gelue"])
def test_missing_names_name_the_nearest(name):
    with pytest.raises(AttributeError, match="the nearest is (cross_entropy|gelu)"):
        getattr(tinygrad_llm.nn.functional, name)
