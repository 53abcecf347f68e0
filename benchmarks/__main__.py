"""python -m benchmarks COMMAND: each prints what it measured, on which machine, and the ratio.

Every command takes --json FILE, --picture FILE, --beside-load N and --isa avx2 (see common.py).
"""

from __future__ import annotations

import importlib
import os
import sys

from . import common, machine

COMMANDS = {
    "train-step": ("train_step", "a GPT's training step against PyTorch eager"),
    "gpu-losses": ("gpu_losses", "300 steps on a GPU in each precision against the CPU's losses"),
    "ops": ("ops", "each fused op, forward and backward, against PyTorch eager"),
    "attention": ("attention", "nine ways to write multi-head attention, and what each keeps"),
    "generate": ("generate", "tokens/s with the KV cache against PyTorch eager"),
    "decode": ("decode", "SmolLM2 and Gemma 3 token by token, beside llama.cpp; drafts"),
    "profile": ("profile", "where a training step goes, op by op"),
    "attention-variants": ("attention_variants", "small GPTs with each attention, side by side"),
    "memory": ("memory", "peak memory of a step, with gradient checkpointing and without"),
    "encoder-memory": ("encoder_memory", "peak memory of encoders' steps, in ways that save some"),
    "loading": ("loading", "six ways to load a model: seconds and peak memory"),
    "formats": ("formats", "SmolLM2 in each format, and beside transformers and llama.cpp"),
    "ladder": ("ladder", "what each optimisation brings, against plain code"),
    "training-ladder": (
        "training_ladder",
        "what each idea of training brings a small GPT",
    ),
    "nanogpt-cpu": ("nanogpt_cpu", "nanoGPT's example for a CPU, its loss as nanoGPT measures it"),
    "mup": ("mup", "the best learning rate by the width of a GPT, with µP and without"),
    "import": ("import_time", "import tinygrad_llm against import numpy"),
    "small": ("small", "calls on a few numbers, and notebooks' loops, against PyTorch"),
    "overhead": ("overhead", "microseconds per op on tiny tensors"),
    "random": ("random_streams", "rand, randn and dropout masks against PyTorch"),
    "scale": ("scale", "1 to N ranks against one process with as many threads; GPUs"),
    "translation": (
        "translation",
        "a translation run beside PyTorch's nn.Transformer",
    ),
    "distillation": ("distillation", "six students of a teacher that knows the 81 sums"),
    "evaluation": ("evaluation", "language models on texts and questions, with paired differences"),
    "retrieval": ("retrieval", "search, BPR, Faiss; answers with passages and without"),
    "rewards": ("rewards", "PPO, GRPO, RLOO and REINFORCE on the 81 sums, three seeds each"),
    "serve": ("serve", "a server under load: 32 clients against one, kill -9"),
    "prepare": ("prepare", "MB/s of each stage of a corpus's preparation, and a whole run"),
    "prepare-kills": ("prepare_kills", "a preparation with 1 and 2 processes, and killed 20 times"),
    "tokenizer": ("tokenizer", "training and encoding against the textbook loop and tiktoken"),
    "tokenizers": ("three_tokenizers", "BPE, WordPiece and Unigram; BPE in six programs"),
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print("usage: python -m benchmarks COMMAND [options]\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:18} {text}")
        print("\neach: --json FILE, --picture FILE, --beside-load N, --isa avx2; and see --help")
        raise SystemExit(0 if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help") else 2)
    machine.hold_to_isa(common.options().parse_known_args(sys.argv[2:])[0].isa)
    module = importlib.import_module(f".{COMMANDS[sys.argv[1]][0]}", __package__)
    common.run(sys.argv[1], module.main, sys.argv[2:])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("python -m benchmarks: stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
