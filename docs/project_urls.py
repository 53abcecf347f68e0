"""The project's addresses in the wheel's metadata, from the setting that the site has too.

With TINYGRAD_LLM_REPOSITORY=https://github.com/OWNER/NAME in the environment `pip wheel .` writes
Project-URL lines; without it none, for no address is known.
"""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

__all__ = ["ProjectUrls"]


class ProjectUrls(MetadataHookInterface):
    """The hook that pyproject.toml names."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Adds `urls` to the metadata, if the repository's address is set.

        Raises: ValueError if the address does not begin with https://.
        """
        address = os.environ.get("TINYGRAD_LLM_REPOSITORY", "").strip().rstrip("/")
        if not address:
            return
        if not address.startswith("https://"):
            raise ValueError(
                f"TINYGRAD_LLM_REPOSITORY is {address!r}: expected the address of the repository, "
                "such as https://github.com/OWNER/NAME"
            )
        metadata["urls"] = {
            "Repository": address,
            "Issues": f"{address}/issues",
            "Changelog": f"{address}/blob/main/CHANGELOG.md",
        }
