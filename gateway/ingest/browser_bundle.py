"""The browser bundle of analytics.js, served from a folder to pages that load it with a snippet.

The folder is ``dist/umd`` of the npm package ``@segment/analytics-next``.  It is read once: what is
served is what was there, and no request ever names a file to open.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from isal import igzip

from gateway.config import Config
from gateway.config.reader import ConfigReader

__all__ = ["ENTRY", "BrowserBundle", "File", "check_bundle"]

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


def check_bundle(config: Config, reader: ConfigReader) -> None:
    """Report a folder that holds something else."""
    folder: object = config.server.browser_bundle
    if isinstance(folder, str):
        try:
            _paths(folder)
        except OSError as error:
            reader.report(("server", "browser_bundle"), _explained(error))


class BrowserBundle:
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
        try:
            self._files = {path.name: _file(path) for path in _paths(self._folder)}
        except OSError as error:
            raise OSError(f"server.browser_bundle: {_explained(error)}") from error

    def find(self, name: str) -> File | None:
        """Return a file by its name."""
        return self._files.get(name)


def _paths(folder: str) -> list[Path]:
    paths = [path for path in Path(folder).iterdir() if path.suffix in _TYPES]
    size = sum(path.stat().st_size for path in paths)
    if ENTRY not in {path.name for path in paths}:
        raise OSError(f"has no {ENTRY}")
    if len(paths) > _MAX_FILES or size > _MAX_BYTES:
        raise OSError(f"holds more than {_MAX_FILES} scripts or {_MAX_BYTES} bytes of them")
    return paths


def _explained(error: OSError) -> str:
    why = f"cannot be read: {error.strerror}" if error.strerror else str(error)
    return f"{why}; accepted: the folder dist/umd of the npm package @segment/analytics-next"


def _file(path: Path) -> File:
    body = path.read_bytes()
    return File(
        body=body,
        gzipped=igzip.compress(body),
        content_type=_TYPES[path.suffix],
        tag=f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"',
        cache=_FOR_EVER if _HASHED.fullmatch(path.name) else _FOR_A_WHILE,
    )
