"""A tiny language model with a chat template, in memory and as a folder."""

from __future__ import annotations

import tinygrad_llm as tg
from tinygrad_llm.models.pretrained import save_pretrained
from tinygrad_llm.models.registry import find
from tinygrad_llm.text import PipelineTokenizer
from tinygrad_llm.text.letters import letter_of_byte

TEMPLATE = (
    "{% for m in messages %}{{ '<a>' + m['role'][0] + m['content'] + '<b>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<a>a' }}{% endif %}"
)
SIZES = {"vocab_size": 259, "emb_dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2,
         "n_kv_heads": 1, "head_dim": 8}  # fmt: skip


def tiny_tokenizer(template: str | None = TEMPLATE) -> PipelineTokenizer:
    """Bytes, and three special tokens: <a> begins a message, <b> ends it."""
    level = {"type": "ByteLevel", "add_prefix_space": False}
    return PipelineTokenizer(
        {
            "model": {
                "type": "BPE",
                "vocab": {c: i for i, c in letter_of_byte().items()},
                "merges": [],
            },
            "added_tokens": [
                {"id": 256 + i, "content": t, "special": True}
                for i, t in enumerate(["<a>", "<b>", "<s>"])
            ],
            "pre_tokenizer": level,
            "decoder": level,
        },
        names={
            "bos_token": "<s>",
            "eos_token": "<b>",
            **({"chat_template": template} if template else {}),
        },
    )


def tiny_model(context_length: int = 128, name: str = "Llama", **sizes):
    """A random model of this family whose greedy text varies and does not end by itself."""
    tg.manual_seed(7)
    family = find(name)
    model = family.model(family.config(**{**SIZES, **sizes}, context_length=context_length))
    for p in model.parameters():
        p.array[...] *= 4 if p.dim() > 1 else 1
    model.head.weight.array[128:] *= 0.01  # so that it writes ASCII, and neither <a> nor <b>
    return model.eval()


def tiny_folder(folder, context_length: int = 128, template: str | None = TEMPLATE):
    """The model and its tokenizer in Hugging Face's layout; returns the folder."""
    save_pretrained(tiny_model(context_length), folder)
    tiny_tokenizer(template).save(folder)
    return folder
