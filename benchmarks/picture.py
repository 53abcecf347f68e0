"""A benchmark's result as a PNG. Matplotlib is imported here and needs no display."""

from __future__ import annotations

import statistics
from typing import Any

OURS, THEIRS, OPTIMIZER = "tab:blue", "tab:orange", "lightgray"
PAPER = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2.0}  # behind a text
NAMES = {"ours": "tinygrad_llm", "torch": "PyTorch eager"}


def draw(command: str, summary: dict[str, Any], file: str) -> None:
    """Draw what the command measured; a bar for each time if the command has no special picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    own = {"train-step": _train_step, "ops": _ops, "profile": _profile, "generate": _generate,
           "mup": _mup}  # fmt: skip
    rows = {"ops": len(_op_rows(summary)), "profile": len(summary.get("ops", ()))}
    height = 1.6 + 0.34 * rows.get(command, 0) if command in rows else 4.2
    figure = Figure(figsize=(9.0, max(height, 3.4)), layout="constrained")
    FigureCanvasAgg(figure)
    own.get(command, _times)(figure, summary)
    text = summary.get("machine", {}).get("text", "")
    figure.supxlabel(text, fontsize=7, color="gray")
    figure.savefig(file, dpi=120)


def _train_step(figure: Any, summary: dict[str, Any]) -> None:
    """Milliseconds of every step as marks, their median as a bar; peak memory to the right."""
    sides = [side for side in NAMES if side in summary]
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for i, side in enumerate(sides):
        row, color = summary[side], OURS if side == "ours" else THEIRS
        left.barh(i, row["seconds"] * 1e3, color=color, alpha=0.7)
        steps = [t * 1e3 for r in row["rounds"] for t in r["times"]]
        left.plot(steps, [i] * len(steps), "|", color="black", markersize=9, alpha=0.5)
        rate = f", {row['gflops']:.0f} GFLOP/s" if "gflops" in row else ""
        left.text(row["seconds"] * 1e3 / 2, i, f"{row['seconds'] * 1e3:.0f} ms{rate}",
                  ha="center", va="center", bbox=PAPER)  # fmt: skip
        right.barh(i, row["peak"] / 1e6, color=color, alpha=0.7)
        right.text(row["peak"] / 2e6, i, f"{row['peak'] / 1e6:.0f} MB", ha="center", va="center")
    for axes in (left, right):
        axes.set_ylim(len(sides) - 0.4, -0.6)
    left.set_yticks(range(len(sides)), [NAMES[s] for s in sides])
    right.set_yticks([])
    left.set_xlabel("milliseconds per step (bar: median, mark: each step)")
    right.set_xlabel("peak memory of the process, MB")
    if "flops" in summary:
        floor = summary["flops"] / summary["machine"]["sgemm"] / 1e6
        left.axvline(floor, color="black", linestyle=":", linewidth=1)
        left.annotate("products at sgemm rate", (floor, -0.57), fontsize=8, ha="right", va="top",
                      xytext=(-4, 0), textcoords="offset points")  # fmt: skip
    ratio = f": {summary['ratio']:.2f} times PyTorch's speed" if "ratio" in summary else ""
    figure.suptitle(f"training step, {summary['config']}{ratio}")


def _op_rows(summary: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {k: v for k, v in summary.items() if isinstance(v, dict) and "ours forward" in v}


def _ops(figure: Any, summary: dict[str, Any]) -> None:
    """Forward and backward of each op as a share of PyTorch's time; ours left of 1 is faster."""
    axes = figure.add_subplot()
    rows = _op_rows(summary)
    against = all("torch forward" in row for row in rows.values())
    for i, row in enumerate(rows.values()):
        base = row["torch forward"] + row["torch backward"] if against else 1.0
        forward, backward = row["ours forward"] / base, row["ours backward"] / base
        axes.barh(i, forward, color=OURS, label="ours, forward" if not i else None)
        axes.barh(i, backward, left=forward, color=OURS, alpha=0.5,
                  label="ours, backward" if not i else None)  # fmt: skip
        label = f"{1 / (forward + backward):.2f} times PyTorch's speed" if against else (
            f"{forward + backward:.2f} ms")  # fmt: skip
        axes.text(forward + backward, i, " " + label, va="center", fontsize=8)
    if against:
        axes.axvline(1.0, color=THEIRS, label="PyTorch eager")
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.margins(x=0.28)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("time, PyTorch's = 1" if against else "milliseconds")
    axes.legend(fontsize=8, loc="lower right")
    figure.suptitle("each fused op, forward and backward")


def _profile(figure: Any, summary: dict[str, Any]) -> None:
    """Milliseconds of a step by op, forward and backward, largest first."""
    axes = figure.add_subplot()
    rows = [(row["op"], row["forward"], row["backward"]) for row in summary["ops"]]
    rows = [row for row in rows if row[1] + row[2] > 1e-3 * summary["total"]]
    between, phases = summary["between"], summary["phases"]
    rows.append(("between ops", between["forward"], between["backward"]))
    rows.append(("optimizer (AdamW)", phases["optimizer"], 0.0))
    for i, (name, forward, backward) in enumerate(rows):
        axes.barh(i, forward * 1e3, color=OPTIMIZER if name[0] == "o" else OURS)
        axes.barh(i, backward * 1e3, left=forward * 1e3, color=OURS, alpha=0.5)
        share = (forward + backward) / summary["total"]
        axes.text((forward + backward) * 1e3, i, f" {share:.1%}", va="center", fontsize=8)
    axes.barh([0], [0], color=OURS, label="forward")
    axes.barh([0], [0], color=OURS, alpha=0.5, label="backward")
    axes.barh([0], [0], color=OPTIMIZER, label="optimizer")
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("milliseconds per step")
    axes.legend(fontsize=8, loc="lower right")
    figure.suptitle(
        f"a training step of {summary['config']}: {summary['total'] * 1e3:.0f} ms, "
        f"{summary['flops'] / summary['total'] / 1e9:.0f} GFLOP/s"
    )


def _generate(figure: Any, summary: dict[str, Any]) -> None:
    """Tokens/s for each batch size, a bar per side."""
    axes = figure.add_subplot()
    batches = list(summary["batches"])
    sides = [side for side in NAMES if side in summary["batches"][batches[0]]]
    for j, side in enumerate(sides):
        for i, batch in enumerate(batches):
            rate = summary["batches"][batch][side]["tokens_per_second"]
            at = i + 0.4 * (j - (len(sides) - 1) / 2)
            axes.bar(at, rate, 0.38, color=OURS if side == "ours" else THEIRS,
                     label=NAMES[side] if not i else None)  # fmt: skip
            axes.text(at, rate, f"{rate:.0f}", ha="center", va="bottom")
    axes.set_xticks(range(len(batches)), [f"batch {b}" for b in batches])
    axes.set_ylabel("tokens/s, all rows together")
    axes.margins(y=0.12)
    axes.legend(fontsize=8)
    figure.suptitle(f"generation with the KV cache, {summary['config']}")


def _times(figure: Any, summary: dict[str, Any]) -> None:
    """A bar for each time."""
    axes = figure.add_subplot()
    seconds = summary["seconds"]
    for i, (label, value) in enumerate(seconds.items()):
        axes.barh(i, value * 1e3, color=THEIRS if not _is_ours(label) else OURS)
        axes.text(value * 1e3, i, f" {value * 1e3:.3g} ms", va="center", fontsize=8)
    axes.set_yticks(range(len(seconds)), list(seconds), fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.16)
    if max(seconds.values()) > 100 * statistics.median(seconds.values()):
        axes.set_xscale("log")
    axes.set_xlabel("milliseconds")
    figure.suptitle(summary["command"])


def _is_ours(label: str) -> bool:
    return "ours" in label or "tinygrad_llm" in label


def _mup(figure: Any, summary: dict[str, Any]) -> None:
    """The loss by the learning rate, a line for each width; a mark at each lowest one."""
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (kind, rows) in zip(axes, summary["losses"].items(), strict=True):
        for width, losses in rows.items():
            (line,) = axis.plot(summary["rates"], losses, ".-", label=f"{width} channels")
            best = losses.index(min(losses))
            axis.plot(summary["rates"][best], losses[best], "*", markersize=14,
                      color=line.get_color())  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_title(kind)
        axis.set_xlabel("learning rate")
    axes[0].set_ylabel("loss of the last steps, nats per character")
    axes[0].legend()
