"""75 further calls on a few numbers, as programs for beginners make them; see small.py.

Each line is a statement, timed as the body of a function without arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SETUP = """
torch.manual_seed(0)
x = torch.rand(27, 27)
t = torch.rand(4, 5)
i = torch.tensor([1, 2, 3])
y = torch.tensor([1, 2, 3, 4])
N = torch.zeros(27, 27, dtype=torch.int32)
lg = torch.rand(4, 27)
e = torch.rand(32, 3, 10)
w = torch.rand(30, 20)
r = torch.rand(3, requires_grad=True)
"""

CALLS = """
x[3]
x[3,4]
x[i]
x[:,i]
x[i,i]
x[3,4].item()
x[1:3]
N[3,4]+=1
list(t)
torch.stack([t,t])
torch.cat([t,t],1)
torch.randint(0,27,(32,))
F.cross_entropy(lg,y)
lg.topk(3)
lg.softmax(1)
torch.multinomial(lg[0],1)
x.sum(1,keepdim=True)
x/x.sum(1,keepdim=True)
e.view(-1,30)@w
t.tolist()
torch.tensor([1,2,3])
torch.zeros(3)
t.mean()
t.std()
t.max(1)
t.argmax()
t==t
t.masked_fill(t>.5,0)
F.one_hot(y,27)
lg[range(4),y].log().mean()
torch.tril(x)
x.T
x.unsqueeze(0)
torch.arange(10)
torch.where(t>.5,t,0.)
t.clone()
(r*2).sum().backward()
torch.randperm(32)
x.float()
torch.allclose(t,t)
t.sort()
t.gather(1,y[:,None]-1)
t.split(2)
t.unbind()
t.norm()
t.cumsum(0)
F.layer_norm(t,(5,))
F.embedding(y,x)
F.gelu(t)
t.view(-1)
t[t>.5]
t.flatten()
torch.outer(t[0],t[0])
torch.einsum('ij,kj->ik',t,t)
t.repeat(2,1)
t.expand(2,4,5)
F.pad(t,(1,1))
t.var(1)
str(t)
t.long()
torch.bincount(y)
torch.full((3,),2.)
F.mse_loss(t,t)
t.nonzero()
t.any()
torch.eye(3)
t.quantile(.5)
t.median()
t.unique()
t.clamp(0,1)
torch.linspace(0,1,5)
x.index_select(0,i)
t.flip(0)
t.roll(1)
t.scatter(1,y[:,None]-1,1.)
"""


def calls(torch: Any) -> dict[str, Callable[[], Any]]:
    """The calls by their text, on tensors of one library."""
    known = {"torch": torch, "F": torch.nn.functional}
    exec(SETUP, known)
    for text in CALLS.strip().splitlines():
        exec(f"def call():\n    {text}", known)
        known[text] = known.pop("call")
    return {text: known[text] for text in CALLS.strip().splitlines()}
