"""Attention by hand: plain, trainable, causal, with dropout, with several heads."""

import torch
import torch.nn as nn


class CausalAttention(nn.Module):
    def __init__(self, d_in, d_out, context_length, dropout, qkv_bias=False):
        super().__init__()
        self.d_out = d_out
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.dropout = nn.Dropout(dropout)
        ones = torch.ones(context_length, context_length)
        self.register_buffer("mask", torch.triu(ones, diagonal=1))

    def forward(self, x):
        b, num_tokens, d_in = x.shape
        keys, queries, values = self.W_key(x), self.W_query(x), self.W_value(x)
        scores = queries @ keys.transpose(1, 2)
        scores.masked_fill_(self.mask.bool()[:num_tokens, :num_tokens], -torch.inf)
        record("scores", scores)
        weights = torch.softmax(scores / keys.shape[-1] ** 0.5, dim=-1)
        weights = self.dropout(weights)
        record("weights", weights)
        return weights @ values


class MultiHeadAttention(nn.Module):
    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
        super().__init__()
        assert d_out % num_heads == 0, "d_out must be divisible by num_heads"
        self.d_out, self.num_heads, self.head_dim = d_out, num_heads, d_out // num_heads
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer(
            "mask", torch.triu(torch.ones(context_length, context_length), diagonal=1)
        )

    def forward(self, x):
        b, t, _ = x.shape
        shape = (b, t, self.num_heads, self.head_dim)
        keys = self.W_key(x).view(*shape).transpose(1, 2)
        queries = self.W_query(x).view(*shape).transpose(1, 2)
        values = self.W_value(x).view(*shape).transpose(1, 2)
        scores = queries @ keys.transpose(2, 3)
        scores.masked_fill_(self.mask.bool()[:t, :t], -torch.inf)
        weights = self.dropout(torch.softmax(scores / self.head_dim**0.5, dim=-1))
        context = (weights @ values).transpose(1, 2).contiguous().view(b, t, self.d_out)
        return self.out_proj(context)


torch.manual_seed(123)
inputs = torch.tensor(
    [[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
     [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]]
)  # fmt: skip

# without weights, one query first, then all
query = inputs[1]
scores_2 = torch.empty(inputs.shape[0])
for i, x_i in enumerate(inputs):
    scores_2[i] = torch.dot(x_i, query)
weights_2 = torch.softmax(scores_2, dim=0)
context_2 = torch.zeros(query.shape)
for i, x_i in enumerate(inputs):
    context_2 += weights_2[i] * x_i
record("scores_2", scores_2)
record("context_2", context_2)
print(context_2)
all_weights = torch.softmax(inputs @ inputs.T, dim=-1)
record("all_context", all_weights @ inputs)
print(all_weights.sum(dim=-1))

# with parameters
torch.manual_seed(123)
W_query = nn.Parameter(torch.rand(3, 2), requires_grad=False)
W_key = nn.Parameter(torch.rand(3, 2), requires_grad=False)
W_value = nn.Parameter(torch.rand(3, 2), requires_grad=False)
record("query_2", inputs[1] @ W_query)
record("keys", inputs @ W_key)
print(inputs @ W_value)

batch = torch.stack((inputs, inputs), dim=0)
for rate in (0.0, 0.5):
    torch.manual_seed(123)
    ca = CausalAttention(3, 2, 6, rate)
    out = ca(batch)
    record("causal", out)
    print(out, out.shape)
    torch.manual_seed(123)
    mha = MultiHeadAttention(3, 4, 6, rate, num_heads=2)
    out = mha(batch)
    record("multi_head", out)
    print(out)
    mha.zero_grad()
    out.pow(2).mean().backward()
    for name, parameter in mha.named_parameters():
        record(f"grad {name}", parameter.grad)
