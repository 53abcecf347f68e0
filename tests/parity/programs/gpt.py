"""A GPT by hand, its greedy text, and gradients through shortcuts."""

import torch
import torch.nn as nn

CONFIG = {
    "vocab_size": 211, "context_length": 32, "emb_dim": 48, "n_heads": 4, "n_layers": 3,
    "drop_rate": 0.1, "qkv_bias": False,
}  # fmt: skip


class LayerNorm(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.eps = 1e-5
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x):
        mean = x.mean(dim=-1, keepdim=True)
        var = x.var(dim=-1, keepdim=True, unbiased=False)
        return self.scale * ((x - mean) / torch.sqrt(var + self.eps)) + self.shift


class GELU(nn.Module):
    def forward(self, x):
        root = torch.sqrt(torch.tensor(2.0 / torch.pi))
        return 0.5 * x * (1 + torch.tanh(root * (x + 0.044715 * torch.pow(x, 3))))


class FeedForward(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        d = cfg["emb_dim"]
        self.layers = nn.Sequential(nn.Linear(d, 4 * d), GELU(), nn.Linear(4 * d, d))

    def forward(self, x):
        return self.layers(x)


class Attention(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        d = cfg["emb_dim"]
        self.heads, self.head_dim = cfg["n_heads"], d // cfg["n_heads"]
        self.W_query = nn.Linear(d, d, bias=cfg["qkv_bias"])
        self.W_key = nn.Linear(d, d, bias=cfg["qkv_bias"])
        self.W_value = nn.Linear(d, d, bias=cfg["qkv_bias"])
        self.out_proj = nn.Linear(d, d)
        self.dropout = nn.Dropout(cfg["drop_rate"])
        t = cfg["context_length"]
        self.register_buffer("mask", torch.triu(torch.ones(t, t), diagonal=1))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (
            w(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
            for w in (self.W_query, self.W_key, self.W_value)
        )
        scores = q @ k.transpose(2, 3)
        scores.masked_fill_(self.mask.bool()[:t, :t], -torch.inf)
        weights = self.dropout(torch.softmax(scores / k.shape[-1] ** 0.5, dim=-1))
        return self.out_proj((weights @ v).transpose(1, 2).contiguous().view(b, t, d))


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.att, self.ff = Attention(cfg), FeedForward(cfg)
        self.norm1, self.norm2 = LayerNorm(cfg["emb_dim"]), LayerNorm(cfg["emb_dim"])
        self.drop = nn.Dropout(cfg["drop_rate"])

    def forward(self, x):
        x = x + self.drop(self.att(self.norm1(x)))
        return x + self.drop(self.ff(self.norm2(x)))


class GPT(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(*[Block(cfg) for _ in range(cfg["n_layers"])])
        self.final_norm = LayerNorm(cfg["emb_dim"])
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def forward(self, idx):
        _, t = idx.shape
        x = self.tok_emb(idx) + self.pos_emb(torch.arange(t, device=idx.device))
        return self.out_head(self.final_norm(self.trf_blocks(self.drop_emb(x))))


def generate(model, idx, new_tokens, context_size, temperature=0.0, top_k=None):
    for _ in range(new_tokens):
        with torch.no_grad():
            logits = model(idx[:, -context_size:])[:, -1, :]
        if top_k is not None:
            top, _ = torch.topk(logits, top_k)
            low = torch.tensor(float("-inf")).to(logits.device)
            logits = torch.where(logits < top[:, -1:], low, logits)
        if temperature > 0.0:
            probs = torch.softmax(logits / temperature, dim=-1)
            idx_next = torch.multinomial(probs, num_samples=1)
        else:
            idx_next = torch.argmax(logits, dim=-1, keepdim=True)
        idx = torch.cat((idx, idx_next), dim=1)
    return idx


torch.manual_seed(123)
model = GPT(CONFIG)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
print(model.trf_blocks[0].ff)
idx = torch.randint(0, CONFIG["vocab_size"], (2, 12))
record("idx", idx)
logits = model(idx)
record("logits in training", logits)
loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), idx[:, 1:].flatten())
record("loss", loss)
print("loss", loss.item())
loss.backward()
for name, parameter in model.named_parameters():
    record(f"grad {name}", parameter.grad)
model.eval()
start = idx[:1, :4]
exact("greedy", generate(model, start, 20, CONFIG["context_length"]))
torch.manual_seed(123)
exact("sampled", generate(model, start, 30, CONFIG["context_length"], 1.4, 25))
print(generate(model, start, 10, 8).squeeze(0).tolist())


class Deep(nn.Module):
    def __init__(self, sizes, shortcut):
        super().__init__()
        self.shortcut = shortcut
        self.layers = nn.ModuleList(
            [nn.Sequential(nn.Linear(a, b), GELU()) for a, b in zip(sizes, sizes[1:], strict=False)]
        )

    def forward(self, x):
        for layer in self.layers:
            y = layer(x)
            x = x + y if self.shortcut and x.shape == y.shape else y
        return x


for shortcut in (False, True):
    torch.manual_seed(123)
    deep = Deep([3, 3, 3, 3, 3, 1], shortcut)
    out = deep(torch.tensor([[1.0, 0.0, -1.0]]))
    nn.MSELoss()(out, torch.tensor([[0.0]])).backward()
    for name, parameter in deep.named_parameters():
        if "weight" in name:
            record(f"{shortcut} {name}", parameter.grad.abs().mean())
            print(f"{name} has gradient mean of {parameter.grad.abs().mean().item():.6f}")
