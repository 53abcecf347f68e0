"""What the instruments share: watching ops and lines, numbers as text, pages, worked examples."""

from ...ops import load_all

load_all()  # the instruments look ops up by name
