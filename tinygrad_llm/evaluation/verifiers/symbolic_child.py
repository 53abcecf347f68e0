"""The child process of SymbolicJudge: pairs of trees come in as JSON lines, answers go out.

    python symbolic_child.py MEGABYTES

It imports nothing of this package. Its memory is limited before the first tree is read; the time
is limited by the parent, which ends it. sympy gets objects that are built here, never a text.
"""

from __future__ import annotations

import json
import sys
from typing import Any

Tree = list[Any]
MOST_DIGITS = 2_000  # of a power of numbers: larger ones are not computed


def limit_memory(megabytes: int) -> None:
    """This process may have so much memory; nothing happens where the system has no limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    size = megabytes << 20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def built(tree: Tree) -> Any:
    """The sympy expression of a tree.

    Raises: ValueError for a tree that has none, or whose numbers would be too large.
    """
    import sympy

    kind = tree[0]
    if kind == "num":
        return sympy.Rational(tree[1])
    if kind == "sym":
        return sympy.Symbol(tree[1])
    if kind == "const":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "inf": sympy.oo}[tree[1]]
    if kind == "fn":
        return function(tree[1], [built(part) for part in tree[2:]])
    if kind not in ("add", "mul", "div", "neg", "pow"):
        raise ValueError(f"a {kind} is not a formula")
    parts = [built(part) for part in tree[1:]]
    if kind == "add":
        return parts[0] + parts[1]
    if kind == "mul":
        return parts[0] * parts[1]
    if kind == "div":
        return parts[0] / parts[1]
    if kind == "neg":
        return -parts[0]
    return power(*parts)


def power(base: Any, exponent: Any) -> Any:
    """base ** exponent.

    Raises: ValueError for a number with more than MOST_DIGITS digits.
    """
    if base.is_Rational and exponent.is_Rational:
        digits = len(str(max(abs(base.p), base.q))) * abs(exponent)
        if digits > MOST_DIGITS:
            raise ValueError("the number is too large")
    return base**exponent


def function(name: str, parts: list[Any]) -> Any:
    """A function of the grammar's list, applied.

    Raises: ValueError for one whose number would be too large.
    """
    import sympy

    own = {"arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "abs": sympy.Abs}
    if name == "sqrt":
        return sympy.root(parts[0], parts[1]) if len(parts) > 1 else sympy.sqrt(parts[0])
    if name == "log":
        return sympy.log(parts[0], parts[1] if len(parts) > 1 else 10)
    if name in ("factorial", "binom"):
        if not all(p.is_Integer and 0 <= p <= 1000 for p in parts):
            raise ValueError(f"{name} needs whole numbers from 0 to 1,000")
        return sympy.factorial(*parts) if name == "factorial" else sympy.binomial(*parts)
    return (own[name] if name in own else getattr(sympy, name))(*parts)


def equal(ours: Tree, theirs: Tree) -> bool | None:
    """Whether two formulas are the same; None if sympy cannot decide."""
    import sympy

    if ours[0] == "ratio":
        ratio = sympy.simplify(built(ours[1]) / built(ours[2]))
        return bool(ratio.is_number and ratio.is_finite and ratio != 0)
    a, b = built(ours), built(theirs)
    if a == b:
        return True
    if a.has(sympy.oo) or b.has(sympy.oo):
        return False
    difference = sympy.simplify(a - b)
    if difference == 0:
        return True
    answer = difference.equals(0)
    return None if answer is None else bool(answer)


def main() -> None:
    """Answers until the input ends.

    Raises: SystemExit if the memory is used up.
    """
    limit_memory(int(sys.argv[1]))
    # sympy loads much of itself when it is used: the first question is not slower than the others
    equal(["pow", ["sym", "x"], ["num", "2"]], ["fn", "sin", ["sym", "x"]])
    print("ready", flush=True)
    for line in sys.stdin:
        ours, theirs = json.loads(line)
        try:
            answer = equal(ours, theirs)
        except MemoryError:
            raise SystemExit(1) from None
        except Exception:  # whichever of sympy's own: the question stays open
            answer = None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
