"""The browser bundle of analytics.js, served from a folder to pages that load it with a snippet.

The folder is ``dist/umd`` of the npm package ``@segment/analytics-next``.  It is read once: what is
served is what was there, and no request ever names a file to open.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from isal import igzip

__all__ = ["Bundle", "File"]

ENTRY = "standalone.js"
"""What the snippet loads, under the name ``analytics.min.js``."""

_TYPES = {".js": "text/javascript", ".map": "application/json"}
_HASHED = re.compile(r".*\.[0-9a-f]{16,}\.js(\.map)?")
_FOR_A_WHILE = "public, max-age=300"
_FOR_EVER = "public, max-age=31536000, immutable"

_MAX_FILES = 1000
_MAX_BYTES = 64 * 1024 * 1024
"""The package has some 50 files and 2 MB; beyond this it is another folder, given by mistake."""


class File(NamedTuple):
    """A file as it is served.

    :param tag: its ``ETag``.
    :param cache: its ``Cache-Control``; a name with a hash in it never changes its meaning.
    """

    body: bytes
    gzipped: bytes
    content_type: str
    tag: str
    cache: str


class Bundle:
    """The files of the bundle by name; none unless a folder is configured.

    :param folder: where they are.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._files: dict[str, File] = {}

    def load(self) -> None:
        """Read the files.

        :raises OSError: the folder cannot be read, or it holds something else.
        """
        if self._folder is None:
            return
        paths = [path for path in Path(self._folder).iterdir() if path.suffix in _TYPES]
        size = sum(path.stat().st_size for path in paths)
        if len(paths) > _MAX_FILES or size > _MAX_BYTES or ENTRY not in {p.name for p in paths}:
            raise OSError(
                f"server.browser_bundle: {self._folder} does not look like the bundle; "
                f"give dist/umd of the npm package @segment/analytics-next, with {ENTRY} in it"
            )
        self._files = {path.name: _file(path) for path in paths}

    def find(self, name: str) -> File | None:
        """Return a file by its name."""
        return self._files.get(name)


def _file(path: Path) -> File:
    body = path.read_bytes()
    return File(
        body=body,
        gzipped=igzip.compress(body),
        content_type=_TYPES[path.suffix],
        tag=f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"',
        cache=_FOR_EVER if _HASHED.fullmatch(path.name) else _FOR_A_WHILE,
    )
