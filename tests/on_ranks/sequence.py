"""The sequence and the vocabulary divided among ranks: the same numbers as in one process."""

from __future__ import annotations

import gc

import pytest

import tinygrad_llm as torch
import tinygrad_llm.distributed as dist
from on_ranks.models import TOLERANCE, equal_on_all_ranks, near
from on_ranks.sharded import ADAMW, SGD, as_in_one_process, gradient
from tinygrad_llm import nn
from tinygrad_llm.distributed.parts import own_slice
from tinygrad_llm.distributed.tensor import Replicate, Shard
from tinygrad_llm.distributed.tensor import parallel as tp
from tinygrad_llm.models.gpt import GPT, GPTConfig

F = nn.functional
WORDS = 17


class Attention(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(12, 12, dtype=dtype) for _ in range(3))
        self.out = nn.Linear(12, 12, dtype=dtype)

    def forward(self, x, scale=None):
        B, T, _ = x.shape
        x = x * scale
        q, k, v = (m(x).view(B, T, -1, 1).transpose(1, 2) for m in (self.q, self.k, self.v))
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(x.transpose(1, 2).reshape(B, T, -1))


class FeedForward(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.up, self.down = nn.Linear(12, 19, dtype=dtype), nn.Linear(19, 12, dtype=dtype)
        self.gate, self.drop = nn.Linear(12, 19, dtype=dtype), nn.Dropout(0.2)

    def forward(self, x):
        return self.down(self.drop(F.silu(self.gate(x)) * self.up(x)))


class Model(nn.Module):
    """In the style of PyTorch's tutorial on sequence parallelism, with dropout."""

    def __init__(self, dtype):
        super().__init__()
        torch.manual_seed(4)
        self.words = nn.Embedding(WORDS, 12, dtype=dtype, padding_idx=1)
        self.places = nn.Embedding(5, 12, dtype=dtype)
        self.norm, self.norm2 = nn.LayerNorm(12, dtype=dtype), nn.RMSNorm(12, dtype=dtype)
        self.drop = nn.Dropout(0.1)
        self.attention, self.ff = Attention(dtype), FeedForward(dtype)
        self.last = nn.LayerNorm(12, dtype=dtype)
        self.head = nn.Linear(12, WORDS, bias=False, dtype=dtype)
        self.head.weight = self.words.weight

    def forward(self, ids):
        x = self.drop(self.words(ids) + self.places(torch.arange(5, device=ids.device)))
        x = x + self.drop(self.attention(self.norm(x), scale=x.new_ones(1)))
        return self.head(self.last(x + self.ff(self.norm2(x))))


def plan(logits):
    part = Shard(1)
    return {
        "words": tp.RowwiseParallel(output_layouts=part),
        "places": tp.ColwiseParallel(output_layouts=Shard(0)),
        "drop": tp.SequenceParallel(),
        "norm*": tp.SequenceParallel(),
        "last": tp.SequenceParallel(),
        "attention": tp.PrepareModuleInput(
            input_layouts=(part,), desired_input_layouts=(Replicate(),),
            input_kwarg_layouts={"scale": Replicate()},
            desired_input_kwarg_layouts={"scale": Replicate()},
        ),
        "attention.[qkv]": tp.ColwiseParallel(),
        "attention.out": tp.RowwiseParallel(output_layouts=part),
        "ff": tp.PrepareModuleInputOutput(
            input_layouts=part, desired_input_layouts=Replicate(), output_layouts=Replicate(),
            desired_output_layouts=part,
        ),
        "ff.up": tp.ColwiseParallel(),
        "ff.gate": tp.ColwiseParallel(),
        "ff.drop": tp.SequenceParallel(sequence_dim=-1),  # heads and hidden channels too
        "ff.down": tp.RowwiseParallel(),
        "head": tp.ColwiseParallel(input_layouts=part, output_layouts=logits),
    }  # fmt: skip


def parallel(dtype, logits):
    mesh = dist.device_mesh.init_device_mesh("cpu", (dist.get_world_size(),))
    return tp.parallelize_module(Model(dtype), mesh, plan(logits))


def check_a_divided_sequence_and_vocabulary():
    for dtype, make, logits in (
        (torch.float32, SGD, Replicate()), (torch.float64, ADAMW, Shard(2)),
    ):  # fmt: skip
        ours, one = parallel(dtype, logits), Model(dtype)
        as_in_one_process(ours, one, dtype, make, loss_within=tp.loss_parallel)
        assert ours.head.weight is ours.words.weight
        equal_on_all_ranks([ours.norm.weight, ours.norm2.weight, ours.attention.out.bias])


def check_two_runs_have_the_same_bits():
    runs = []
    for _ in range(2):
        model = parallel(torch.float32, Shard(-1))
        torch.manual_seed(0)
        ids = torch.arange(10).view(2, 5)
        with tp.loss_parallel():
            loss = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        loss.backward()
        equal_on_all_ranks([loss, model.norm.weight.grad])
        runs.append([loss.array.tobytes(), *(p.grad.array.tobytes() for p in model.parameters())])
    assert runs[0] == runs[1]


def check_norms_and_dropout_keep_a_part_and_logits_are_never_whole():
    size = dist.get_world_size()
    mine, shapes = {}, []
    model = parallel(torch.float32, Shard(-1))
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda m, args, out, name=name: mine.__setitem__(name, tuple(out.shape))
        )
    logits = model(torch.arange(10).view(2, 5))
    t = 5 * (dist.get_rank() + 1) // size - 5 * dist.get_rank() // size
    for name in ("norm", "norm2", "last", "drop"):
        assert mine[name] == (2, t, 12), mine
    n = own_slice(dist.group.WORLD, WORDS)
    assert logits.shape == (2, 5, n.stop - n.start)
    gc.collect()
    shapes = [o.shape for o in gc.get_objects() if type(o) is torch.Tensor]
    assert (2, 5, WORDS) not in shapes and (10, WORDS) not in shapes


def check_the_loss_of_divided_classes():
    columns = own_slice(dist.group.WORLD, WORDS)
    generator = torch.Generator().manual_seed(5)
    weight = torch.rand(WORDS, generator=generator, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = (10 * torch.randn(3, 4, WORDS, generator=generator, dtype=torch.float64)).to(dtype)
        t = torch.randint(0, WORDS, (3, 4), generator=generator)
        t[1, 2] = -100
        for options in (
            {}, {"reduction": "sum"}, {"weight": weight.to(dtype)}, {"label_smoothing": 0.1},
            {"weight": weight.to(dtype), "label_smoothing": 0.3, "reduction": "none"},
            {"ignore_index": int(t[0, 0])},
        ):  # fmt: skip
            if "ignore_index" not in options:
                targets = t
            else:
                targets = t.masked_fill(t == -100, 0)
            a = x.clone().requires_grad_()
            whole = F.cross_entropy(a.flatten(0, 1), targets.flatten(), **options)
            b = x[..., columns].clone().requires_grad_()
            part = tp.loss.note_columns(b * 1.0, dist.group.WORLD, WORDS)
            with tp.loss_parallel():
                ours = F.cross_entropy(part.flatten(0, 1), targets.flatten(), **options)
                again = F.cross_entropy(part.permute(0, 2, 1), targets, **options)
            upstream = torch.randn(whole.shape, generator=generator, dtype=torch.float64)
            upstream = upstream.to(dtype)
            ours.backward(upstream)
            whole.backward(upstream)
            limit = TOLERANCE.get(dtype, 0.02)
            near(ours, whole, limit)
            near(again.flatten() if again.ndim else again, whole, limit)
            near(b.grad, a.grad[..., columns].clone(), limit)
    nothing = torch.full((3, 4), -100)
    with tp.loss_parallel():
        assert F.cross_entropy(part.flatten(0, 1), nothing.flatten()).isnan()
        other = F.cross_entropy(torch.zeros(2, 50), torch.tensor([1, 2]))  # not divided
        near(other, torch.log(torch.tensor(50.0)), 1e-6)
        with pytest.raises(IndexError, match=f"Target {WORDS} is out of bounds"):
            F.cross_entropy(part.flatten(0, 1), torch.full((12,), WORDS))
        with pytest.raises(RuntimeError, match="class indices"):
            F.cross_entropy(part.flatten(0, 1), part.flatten(0, 1))
        with pytest.raises(RuntimeError, match="nor a view of it"):
            F.cross_entropy((part * 2).flatten(0, 1), t.flatten())
    assert tp.loss.divided_classes.loss is None


def check_layouts_of_any_dimension():
    x = torch.randn(6, 7, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    g = torch.randn(6, 7, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    layouts = [Replicate(), Shard(0), Shard(1), Shard(-1)]
    for kind in (tp.ColwiseParallel, tp.RowwiseParallel):
        for a in layouts:
            for b in layouts:
                torch.manual_seed(2)
                one = nn.Linear(12, 12, dtype=torch.float64)
                torch.manual_seed(2 + dist.get_rank())
                ours = nn.Linear(12, 12, dtype=torch.float64)
                tp.parallelize_module(ours, None, kind(input_layouts=a, output_layouts=b))
                whole, copy = x.clone().requires_grad_(), x.clone().requires_grad_()
                y = ours(copy if a == Replicate() else dist.nn.own_part_of(copy, a.dim))
                y = y if b == Replicate() else dist.nn.gather_along(y, b.dim)
                expected = one(whole)
                assert torch.allclose(y, expected, rtol=1e-12), (kind, a, b)
                (y * g).sum().backward()
                (expected * g).sum().backward()
                assert torch.allclose(copy.grad, whole.grad, rtol=1e-12), (kind, a, b)
                for p, q in zip(ours.parameters(), one.parameters(), strict=True):
                    q = q.grad
                    if hasattr(p, "division"):
                        q = q.split(1, p.division.dim)
                        q = torch.cat(q[own_slice(*p.division[::2])], p.division.dim)
                    assert torch.allclose(p.grad, q, rtol=1e-12, atol=1e-12), (kind, a, b)


def check_random_streams():
    rank = dist.get_rank()
    torch.manual_seed(3)
    before = torch.rand(4)
    with tp.own_random_stream():
        mine = torch.rand(5 + rank)  # another amount on every rank
    after = torch.rand(4)
    equal_on_all_ranks([before, after])
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine[:5].tolist())
    assert len({tuple(numbers) for numbers in everyone}) == len(everyone)
    torch.manual_seed(3)
    torch.rand(4)
    with tp.own_random_stream():
        assert (torch.rand(5 + rank) == mine).all()


def check_what_sequence_parallelism_refuses():
    with pytest.raises(ValueError, match="have same length"):
        layer = tp.parallelize_module(
            nn.Linear(2, 2), None,
            tp.PrepareModuleInput(input_layouts=(None, None), desired_input_layouts=(None, None)),
        )  # fmt: skip
        layer(torch.ones(1, 2))
    with pytest.raises(AssertionError, match="should have same length"):
        tp.PrepareModuleOutput(output_layouts=(Shard(0),), desired_output_layouts=())
    with pytest.raises(AssertionError, match="should not be None"):
        tp.PrepareModuleInput(input_layouts=Shard(0))
    with pytest.raises(ValueError, match="does not fit a tensor of 2 dimensions"):
        layer = tp.parallelize_module(
            nn.Linear(2, 2), None, tp.ColwiseParallel(input_layouts=Shard(3))
        )
        layer(torch.ones(1, 2))
    with pytest.raises(IndexError, match="outside of the vocabulary"):
        words = tp.parallelize_module(nn.Embedding(5, 2), None, tp.RowwiseParallel())
        words(torch.tensor([5]))
    with pytest.raises(NotImplementedError, match="apply_to"):
        tp.parallelize_module(nn.Linear(2, 2), None, tp.ParallelStyle())


def gpt(dtype):
    torch.manual_seed(2)
    config = GPTConfig(
        vocab_size=WORDS, context_length=8, emb_dim=12, n_layers=2, n_heads=3, drop_rate=0.1
    )
    return GPT(config).to(dtype)


def plan_of_gpt():
    part, whole = Shard(1), Replicate()
    return {
        "tok_emb": tp.RowwiseParallel(output_layouts=part),
        "pos_emb": tp.ColwiseParallel(output_layouts=Shard(-2)),
        "drop_emb": tp.SequenceParallel(),
        "trf_blocks.*.norm*": tp.SequenceParallel(),
        "trf_blocks.*.drop_shortcut": tp.SequenceParallel(),
        "trf_blocks.*.att": tp.PrepareModuleInputOutput(
            input_layouts=part, desired_input_layouts=whole, output_layouts=whole,
            desired_output_layouts=part,
        ),
        "trf_blocks.*.ff": tp.PrepareModuleInput(
            input_layouts=part, desired_input_layouts=whole
        ),
        "trf_blocks.*.ff.layers.0": tp.ColwiseParallel(),
        "trf_blocks.*.ff.layers.2": tp.RowwiseParallel(output_layouts=part),
        "final_norm": tp.PrepareModuleInput(input_layouts=part, desired_input_layouts=whole),
        "out_head": tp.ColwiseParallel(output_layouts=Shard(-1)),
    }  # fmt: skip


def check_a_language_model_of_this_package():
    for dtype in (torch.float32, torch.float64):
        one = gpt(dtype)
        ours = tp.parallelize_module(gpt(dtype), None, plan_of_gpt())
        ids = torch.arange(14).view(2, 7) % WORDS
        losses = []
        for model in (ours, one):
            torch.manual_seed(0)
            with tp.loss_parallel():
                losses.append(model.loss(ids, ids))
            losses[-1].backward()
        near(*losses, TOLERANCE[dtype])
        for p, q in zip(ours.parameters(), one.parameters(), strict=True):
            near(gradient(p), q.grad, 2 * TOLERANCE[dtype])
