"""What the instruments share: watching ops and lines, numbers as text, pages, worked examples."""
