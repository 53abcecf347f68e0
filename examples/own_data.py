"""Your own text: a tokenizer and a small GPT are trained on it, and it writes on.

python examples/own_data.py FILE    (without one, this file is the text)
"""

import sys
from pathlib import Path

import tinygrad_llm as torch
from tinygrad_llm.generation import generate
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.training import TokenBatches, Trainer

text = Path(sys.argv[1] if len(sys.argv) > 1 else __file__).read_text(encoding="utf-8")
tokenizer = BPETokenizer.train(text, 300)
tokens = torch.tensor(tokenizer.encode(text))
torch.manual_seed(0)
model = GPT(GPTConfig(tokenizer.vocab_size, context_length=32, emb_dim=64, n_heads=4, n_layers=2))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
batches = TokenBatches(tokens, batch_size=4, context_length=32)
result = Trainer(model, optimizer, batches, steps=100, progress=False).run()
print(f"{len(tokens):,} tokens, loss {result.loss:.3f}")
ids = generate(model, tokenizer.encode("model"), 40, temperature=0.8, seed=0)
print(tokenizer.decode(ids.tolist()))
