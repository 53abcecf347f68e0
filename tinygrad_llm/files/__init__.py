"""Files of any kind: written whole or not at all, JSON with errors that name the file, downloads
that are checked."""
