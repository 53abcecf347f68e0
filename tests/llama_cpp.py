"""llama.cpp as an oracle: the package xllamacpp runs it, in a new process.

greedy("model.gguf", [1, 9690, 198, 2683], 8)    # [(id, log-probability), ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from oracles import oracle

_PROGRAM = """
import json, sys
import xllamacpp
path, ids, n = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.cpuparams.n_threads = path, 256, 1, 1
p.n_gpu_layers, p.warmup, p.verbosity = 0, False, -1
server = xllamacpp.Server(p)
asked = {"prompt": ids, "max_tokens": n, "temperature": 0, "logprobs": 5, "cache_prompt": False,
         "ignore_eos": True}
answer = server.handle_completions(asked)
print("ANSWER" + (answer if isinstance(answer, str) else json.dumps(answer)), flush=True)
"""


def greedy(path: Path, ids: Sequence[int], n: int) -> list[dict]:
    """The n greedy tokens after a prompt of ids: {"id", "logprob", "top_logprobs"} each.

    Skips the test if the package is not installed.
    """
    return _ask(path, list(map(int, ids)), n)["choices"][0]["logprobs"]["content"]


def n_tokens(path: Path, text: str) -> int:
    """How many tokens llama.cpp makes of a text."""
    return _ask(path, text, 1)["usage"]["prompt_tokens"]


def _ask(path: Path, prompt: str | list[int], n: int) -> dict:
    oracle("xllamacpp")
    command = [sys.executable, "-c", _PROGRAM, str(path), json.dumps(prompt), str(n)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert lines, f"llama.cpp cannot read {path}: {done.stderr[-2000:]}"
    return json.loads(lines[0].removeprefix("ANSWER"))
