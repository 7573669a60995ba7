"""The durable buffer: requests are answered when their records are in it, and not before.

What is decided where:

* ``base``, ``dead_letters``: what a spool is, whichever storage is behind it.
* ``sqlite``, ``sqlite_letters``, ``several_letters``: what others call.
* ``group_commit``: which requests share a commit, and who is refused.  ``reading``: how reads meet
  damage.  ``work``: what passes between the threads.
* ``writer``: what becomes of a group.  ``contents``, ``letterbox``: what a transaction does.
  ``room``, ``reserve``: whether there is room for it.
* ``spool_file``: how a file is opened.  ``soundness``: what proves it.  ``repair``: when it is
  given up.  ``salvage``: what is saved of it.  ``vanished``: what if it lost its name.
* ``files``, ``format``, ``database``: its names, its schema, a connection to it.
* ``chunks``, ``letter_rows``, ``ledger``: how each lies on disk, with its checksum.  ``memory``,
  ``sidecar``: what is known beside the file.  ``reader``, ``letter_reader``: what is read.
"""

from gateway.spool.base import Spool
from gateway.spool.sqlite import SqliteSpool

__all__ = ["Spool", "SqliteSpool"]
