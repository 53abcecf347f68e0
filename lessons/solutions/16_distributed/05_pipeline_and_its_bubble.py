# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a pipeline and its bubble

# %%
import tinygrad_llm as torch

torch.manual_seed(123)


def one_forward_one_backward(s, p, m):
    ahead = min(m, p - s)
    actions = [("F", i) for i in range(ahead)]
    for i in range(m):
        actions.append(("B", i))
        if ahead + i < m:
            actions.append(("F", ahead + i))
    return actions


# %% [markdown]
# ## 1. Stages that are not equally fast
# The timetable takes the seconds of each stage. Stage 2 is never idle for long, but now every other stage waits for
# it: the bubble is small only where all stages take equally long. A head that costs as much as two blocks counts as
# two blocks: the last stage gets two blocks fewer. (`cut_into_stages(model, n, blocks=[...])` takes any division.)


# %%
def timetable(orders, stage_of, seconds):
    """orders: for each rank a list of (kind, chunk, micro-batch); returns rows of (..., start, end).

    stage_of(rank, chunk) is a stage's number; the stages of a rank share its time.
    """
    waiting = [list(order) for order in orders]
    stages = sorted(stage_of(r, c) for r, order in enumerate(orders) for _, c, _ in set(order))
    last = stages[-1]
    table, ended = [[] for _ in orders], {}
    while any(waiting):
        before = sum(map(len, waiting))
        for r in range(len(orders)):
            while waiting[r]:
                kind, chunk, i = waiting[r][0]
                s = stage_of(r, chunk)
                neighbour = s - 1 if kind == "F" else s + 1
                if 0 <= neighbour <= last and (kind, neighbour, i) not in ended:
                    break
                if kind == "B" and ("F", s, i) not in ended:
                    break
                start = max(ended.get((kind, neighbour, i), 0), table[r][-1][4] if table[r] else 0)
                end = start + seconds[s] * (1 if kind == "F" else 2)
                table[r].append((kind, chunk, i, start, end))
                ended[kind, s, i] = end
                waiting[r].pop(0)
        assert sum(map(len, waiting)) < before, "the ranks wait for each other"
    return table


def idle(table):
    """The share of idle time of each rank."""
    length = max(row[-1][4] for row in table)
    return [1 - sum(end - start for *_, start, end in row) / length for row in table]


p, m = 4, 8
orders = [[(kind, 0, i) for kind, i in one_forward_one_backward(s, p, m)] for s in range(p)]
even = idle(timetable(orders, lambda r, c: r, [1] * p))
slow = idle(timetable(orders, lambda r, c: r, [1, 1, 2, 1]))
print("equally fast:", [f"{share:.0%}" for share in even])
print("stage 2 takes twice as long:", [f"{share:.0%}" for share in slow])
assert all(abs(share - (p - 1) / (m + p - 1)) < 1e-12 for share in even)
assert slow[2] < even[2] and min(slow[0], slow[1], slow[3]) > even[0]

# %% [markdown]
# ## 2. Interleaved: v pieces on each rank
# A piece is a v-th of a rank's layers, so a micro-batch reaches the last rank after (p − 1)/v of the time that it
# takes with whole stages. The bubble is (p − 1)/(v·m + p − 1). The price: activations travel v times as often.
#
# The order, for m divisible by p: micro-batches in groups of p; each group goes through piece 0, then piece 1.
# Rank r makes 2·(p − r − 1) + (v − 1)·p forward passes before its first backward pass.
# Source: Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters".


# %%
def interleaved(r, p, m, v):
    def number(k, backward):
        """(chunk, micro-batch) of the k-th pass."""
        group, inside = divmod(k, p * v)
        chunk, i = divmod(inside, p)
        return (v - 1 - chunk if backward else chunk), group * p + i

    total = m * v
    ahead = min(total, 2 * (p - r - 1) + (v - 1) * p + 1)
    order = [("F", *number(k, False)) for k in range(ahead)]
    for k in range(total):
        order.append(("B", *number(k, True)))
        if ahead + k < total:
            order.append(("F", *number(ahead + k, False)))
    return order


v = 2
table = timetable([interleaved(r, p, m, v) for r in range(p)], lambda r, c: c * p + r, [1 / v] * (p * v))
share = sum(idle(table)) / p
print(f"interleaved, v = {v}: idle {share:.3f}; one piece per rank {even[0]:.3f}")
assert abs(share - (p - 1) / (v * m + p - 1)) < 1e-12

# %% [markdown]
# ## 3. A weight on two stages
# In one process the gradient of a shared weight is the sum of both uses. Without the sum each copy follows its own
# gradient: after one step the copies differ, and it is another model. With the sum they stay equal to the last bit.
# (`distributed.pipelining.sum_tied_gradients` does this between the first and the last rank.)


# %%
def train(add_up, steps=2):
    """Two copies of an embedding's weight, one used as the head; the copies after training."""
    torch.manual_seed(0)
    weight = torch.randn(7, 4)
    embedding, head = (weight.clone().requires_grad_() for _ in range(2))
    ids, target = torch.randint(0, 7, (16,)), torch.randint(0, 7, (16,))
    for _ in range(steps):
        sent = torch.nn.functional.embedding(ids, embedding)  # stage 0: (16,) -> (16, 4)
        received = sent.detach().requires_grad_()
        logits = torch.nn.functional.linear(received, head)  # stage 1: (16, 4) -> (16, 7)
        torch.nn.functional.cross_entropy(logits, target).backward()
        sent.backward(received.grad)
        gradients = [embedding.grad, head.grad]
        if add_up:
            total = embedding.grad + head.grad
            gradients = [total, total]
        with torch.no_grad():
            for copy, gradient in zip((embedding, head), gradients):
                copy -= 0.5 * gradient
                copy.grad = None
    return embedding.detach(), head.detach(), ids, target, weight


def in_one_process(ids, target, weight, steps=2):
    shared = weight.clone().requires_grad_()
    for _ in range(steps):
        logits = torch.nn.functional.linear(torch.nn.functional.embedding(ids, shared), shared)
        torch.nn.functional.cross_entropy(logits, target).backward()
        with torch.no_grad():
            shared -= 0.5 * shared.grad
            shared.grad = None
    return shared.detach()


for add_up in (False, True):
    a, b, *data = train(add_up)
    whole = in_one_process(*data)
    print(f"added up: {add_up}; copies differ by {(a - b).abs().max().item():.3f}, "
          f"from one process by {(a - whole).abs().max().item():.3f}")  # fmt: skip
    assert torch.equal(a, b) == add_up
    assert torch.allclose(a, whole, atol=1e-5) == add_up
