"""Chapter 5's run: GPT-2 small from random weights on The Verdict, ten epochs.

Expects `text` (the story), `record`, `exact` and `note` in its globals.
"""

import tiktoken
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

CONFIG = {
    "vocab_size": 50257, "context_length": 256, "emb_dim": 768, "n_heads": 12, "n_layers": 12,
    "drop_rate": 0.1, "qkv_bias": False,
}  # fmt: skip


class GPTDataset(Dataset):
    def __init__(self, txt, tokenizer, max_length, stride):
        self.input_ids, self.target_ids = [], []
        token_ids = tokenizer.encode(txt, allowed_special={"<|endoftext|>"})
        for i in range(0, len(token_ids) - max_length, stride):
            self.input_ids.append(torch.tensor(token_ids[i : i + max_length]))
            self.target_ids.append(torch.tensor(token_ids[i + 1 : i + max_length + 1]))

    def __len__(self):
        return len(self.input_ids)

    def __getitem__(self, idx):
        return self.input_ids[idx], self.target_ids[idx]


def create_dataloader(txt, batch_size, max_length, stride, shuffle, drop_last):
    dataset = GPTDataset(txt, tiktoken.get_encoding("gpt2"), max_length, stride)
    return DataLoader(
        dataset, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, num_workers=0
    )


class MultiHeadAttention(nn.Module):
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
        keys = self.W_key(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        queries = self.W_query(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        values = self.W_value(x).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        scores = queries @ keys.transpose(2, 3)
        scores.masked_fill_(self.mask.bool()[:t, :t], -torch.inf)
        weights = self.dropout(torch.softmax(scores / keys.shape[-1] ** 0.5, dim=-1))
        context = (weights @ values).transpose(1, 2).contiguous().view(b, t, d)
        return self.out_proj(context)


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


class TransformerBlock(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.att, self.ff = MultiHeadAttention(cfg), FeedForward(cfg)
        self.norm1, self.norm2 = LayerNorm(cfg["emb_dim"]), LayerNorm(cfg["emb_dim"])
        self.drop_shortcut = nn.Dropout(cfg["drop_rate"])

    def forward(self, x):
        x = x + self.drop_shortcut(self.att(self.norm1(x)))
        return x + self.drop_shortcut(self.ff(self.norm2(x)))


class GPTModel(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        self.trf_blocks = nn.Sequential(*[TransformerBlock(cfg) for _ in range(cfg["n_layers"])])
        self.final_norm = LayerNorm(cfg["emb_dim"])
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def forward(self, idx):
        _, t = idx.shape
        x = self.tok_emb(idx) + self.pos_emb(torch.arange(t, device=idx.device))
        return self.out_head(self.final_norm(self.trf_blocks(self.drop_emb(x))))


def greedy(model, idx, new_tokens, context_size):
    for _ in range(new_tokens):
        with torch.no_grad():
            logits = model(idx[:, -context_size:])[:, -1, :]
        idx = torch.cat((idx, torch.argmax(logits, dim=-1, keepdim=True)), dim=1)
    return idx


def loss_of_batch(inputs, targets, model):
    logits = model(inputs)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def loss_of_loader(loader, model, num_batches):
    total, n = 0.0, min(num_batches, len(loader))
    for i, (inputs, targets) in enumerate(loader):
        if i == n:
            break
        total += loss_of_batch(inputs, targets, model).item()
    return total / n


def sample(model, tokenizer):
    model.eval()
    ids = torch.tensor(tokenizer.encode("Every effort moves you")).unsqueeze(0)
    out = greedy(model, ids, 50, model.pos_emb.weight.shape[0]).squeeze(0).tolist()
    model.train()
    return tokenizer.decode(out)


split = int(0.90 * len(text))
torch.manual_seed(123)
train_loader = create_dataloader(text[:split], 2, 256, 256, shuffle=True, drop_last=True)
val_loader = create_dataloader(text[split:], 2, 256, 256, shuffle=False, drop_last=False)
tokenizer = tiktoken.get_encoding("gpt2")

torch.manual_seed(123)
model = GPTModel(CONFIG)
model.eval()
first = torch.tensor([tokenizer.encode("Hello, I am")])
exact("greedy from random weights", greedy(model, first, 6, 256))
model.train()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.0004, weight_decay=0.1)
step = -1
for epoch in range(EPOCHS):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = loss_of_batch(inputs, targets, model)
        loss.backward()
        optimizer.step()
        step += 1
        if step % 5 == 0:
            model.eval()
            with torch.no_grad():
                train_loss = loss_of_loader(train_loader, model, 5)
                val_loss = loss_of_loader(val_loader, model, 5)
            model.train()
            note(f"Ep {epoch + 1} (Step {step:06d}): train {train_loss:.3f}, val {val_loss:.3f}")
            record(f"train {step}", train_loss)
            record(f"val {step}", val_loss)
    text_now = sample(model, tokenizer)
    note(text_now.replace("\n", " "))
    exact(f"text {epoch + 1}", text_now)
