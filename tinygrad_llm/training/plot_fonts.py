"""Letters that matplotlib's own font lacks, such as Japanese ones, in labels of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EAST_ASIAN", "letters_shown"]

# Fonts with Japanese letters on Linux, macOS and Windows; the first that is installed is taken
EAST_ASIAN = (
    "Noto Sans CJK JP", "Noto Sans JP", "Source Han Sans JP", "IPAexGothic", "IPAGothic",
    "TakaoGothic", "VL Gothic", "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic",
    "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip
_NOTE = "boxes: no installed font has these letters; Noto Sans CJK has Japanese ones"


def letters_shown(figure: Figure) -> None:
    """Gives the labels of a figure a second font for letters that the first one lacks.

    Where no font has them, a line at the bottom of the picture says why there are boxes.
    """
    from matplotlib import font_manager, rcParams
    from matplotlib.text import Text

    texts = [item for item in figure.findobj(Text) if isinstance(item, Text)]
    lacking = [text for text in texts if any("\u2e80" <= c for c in text.get_text())]
    if not lacking:
        return
    installed = {font.name for font in font_manager.fontManager.ttflist}
    second = next((name for name in EAST_ASIAN if name in installed), None)
    if second is None:
        figure.text(0.995, 0.002, _NOTE, ha="right", va="bottom", fontsize=5, color="gray")
        return
    for text in lacking:
        text.set_fontfamily([*rcParams["font.family"], second])
