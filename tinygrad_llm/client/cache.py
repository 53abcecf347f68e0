"""Answers on the disk: a file for each request, there whole or not at all.

A file's name is the SHA-256 of the request. So two runs may share a folder, a killed run loses
nothing that it had, and a file that is damaged counts as missing.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from ..files.atomic import remove_old_parts
from ..files.json_files import json_bytes, read_json, write_json
from ..files.paths import local_path

__all__ = ["AnswerCache"]


class AnswerCache:
    """A folder of answers; it is made at the first one."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = local_path(folder)

    def path(self, request: Any) -> Path:
        """The file of a request, which is a value that JSON can write."""
        digest = hashlib.sha256(json_bytes(request)).hexdigest()
        return self.folder / digest[:2] / f"{digest}.json"

    def get(self, request: Any) -> dict[str, Any] | None:
        """The stored answer to a request; None if there is none, or its file is damaged."""
        try:
            stored = read_json(self.path(request))
        except (OSError, ValueError):
            return None
        if not isinstance(stored, dict) or stored.get("request") != request:
            return None
        answer = stored.get("answer")
        return answer if isinstance(answer, dict) else None

    def put(self, request: Any, answer: dict[str, Any]) -> None:
        """Store an answer in one step.

        Raises: OSError from the disk.
        """
        path = self.path(request)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_old_parts(path)
        write_json(path, {"request": request, "answer": answer})
