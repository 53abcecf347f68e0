"""Files: written completely or not at all, JSON with clear errors, downloads that are checked."""
