"""Questions of reasoning-gym, where it is installed: pip install --no-deps reasoning-gym==0.1.25

    gym_questions("chain-sum", 100, seed=0)      # [{"instruction": ..., "output": "7"}, ...]

The package imports eleven others for tasks that are not needed here. So only the module of a task
is read, with those of the package that it names, and the package itself is left as it was.
Source: Stojanovski et al. (2025), "Reasoning Gym"; Apache License 2.0.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ...files.packages import MissingPackage

__all__ = ["GYM", "INSTALL", "gym_questions"]

_PACKAGE = "reasoning_gym"
INSTALL = "pip install --no-deps reasoning-gym==0.1.25"

# of each task: its module, the beginning of the names of its classes, and its options
GYM: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chain-sum": ("arithmetic.chain_sum", "ChainSum",
                  {"min_terms": 2, "max_terms": 2, "max_digits": 1}),
    "chain-sum-hard": ("arithmetic.chain_sum", "ChainSum",
                       {"min_terms": 2, "max_terms": 3, "max_digits": 2}),
    "letter-counting": ("algorithmic.letter_counting", "LetterCounting",
                        {"min_words": 1, "max_words": 3}),
    "products": ("arithmetic.products", "Products", {"max_digits": 1}),
}  # fmt: skip


def gym_questions(
    task: str, n: int, seed: int = 0, exclude: set[str] | None = None
) -> list[dict[str, str]]:
    """n different questions of a task, as dicts with "instruction" and "output".

    exclude: questions that may not come. Fewer than n where the task has no more.
    Raises: MissingPackage if reasoning-gym is not installed.
    """
    module_name, prefix, options = GYM[task]
    with _bare_packages(module_name) as module:
        config = getattr(module, f"{prefix}Config")
        data = getattr(module, f"{prefix}Dataset")(config(seed=seed, size=20 * n, **options))
        seen, questions = set(exclude or ()), []
        for i in range(20 * n):
            item = data[i]
            if item["question"] not in seen:
                seen.add(item["question"])
                questions.append({"instruction": item["question"], "output": str(item["answer"])})
            if len(questions) == n:
                break
    return questions


@contextmanager
def _bare_packages(module_name: str) -> Iterator[Any]:
    """The module of a task, without the packages' own code, which imports every task.

    Raises: MissingPackage if it is not installed.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackage(f"the tasks of reasoning-gym need it: {INSTALL}")
    before = {name: m for name, m in sys.modules.items() if _inside(name)}
    for name in before:
        del sys.modules[name]
    folder = spec.submodule_search_locations[0]
    try:
        for name in (_PACKAGE, f"{_PACKAGE}.{module_name.partition('.')[0]}"):
            package = ModuleType(name)
            package.__path__ = [f"{folder}{name.removeprefix(_PACKAGE).replace('.', '/')}"]
            sys.modules[name] = package
        yield importlib.import_module(f"{_PACKAGE}.{module_name}")
    finally:
        for name in [name for name in sys.modules if _inside(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _inside(name: str) -> bool:
    return name == _PACKAGE or name.startswith(f"{_PACKAGE}.")
