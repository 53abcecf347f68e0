"""Run chapter 5's program under PyTorch or under tinygrad_llm and write its numbers as JSON.

python tests/parity/chapter5.py torch tests/parity/chapter5_torch.json
python tests/parity/chapter5.py ours /tmp/chapter5_ours.json
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SITE = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"


def data_folder() -> Path:
    return Path(os.environ.get("TINYGRAD_LLM_DATA") or HERE.parents[2] / "shared" / "data")


def program(name: str) -> str:
    """The text of a reader's program; the two that use gpt_model.py contain it."""
    names = ["gpt_model", name] if name in ("gpt", "chapter5") else [name]
    files = [HERE / "programs" / f"{part}.py" for part in names]
    return "\n\n".join(file.read_text(encoding="utf-8") for file in files)


def with_our_import(source: str) -> str:
    """The program with its imports changed, and nothing else."""
    source = re.sub(r"^import torch$", "import tinygrad_llm as torch", source, flags=re.M)
    return re.sub(r"^(import|from) torch\.", r"\1 tinygrad_llm.", source, flags=re.M)


def run(side: str, epochs: int = 10, quiet: bool = False) -> dict:
    """Run it and return {"close": numbers, "equal": texts and ids, "seconds": time}."""
    data = data_folder()
    with tempfile.TemporaryDirectory() as cache:
        for name in ("vocab.bpe", "encoder.json"):  # as tiktoken names them in its cache
            key = hashlib.sha1((SITE + name).encode()).hexdigest()
            shutil.copyfile(data / name, Path(cache) / key)
        os.environ["TIKTOKEN_CACHE_DIR"] = cache
        source = program("chapter5")
        result: dict = {"close": {}, "equal": {}}
        start = time.perf_counter()

        def note(line: str) -> None:
            if not quiet:
                print(f"{time.perf_counter() - start:6.0f} s  {line}", flush=True)

        def exact(key: str, value: object) -> None:
            result["equal"][key] = value.tolist() if hasattr(value, "tolist") else value

        scope = {
            "__name__": "chapter5",
            "EPOCHS": epochs,
            "text": (data / "the-verdict.txt").read_text(encoding="utf-8"),
            "record": lambda key, value: result["close"].__setitem__(key, value),
            "exact": exact,
            "note": note,
        }
        exec(compile(source if side == "torch" else with_our_import(source), side, "exec"), scope)
    result["seconds"] = round(time.perf_counter() - start, 1)
    return result


if __name__ == "__main__":
    side, out = sys.argv[1:3]
    if side not in ("torch", "ours"):
        raise SystemExit(f"the side is 'torch' or 'ours', not {side!r}")
    sys.path.insert(0, str(HERE.parents[1]))
    result = run(side, int(sys.argv[3]) if len(sys.argv) > 3 else 10)
    Path(out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
