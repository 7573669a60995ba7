"""A spool in one SQLite file.

The event loop calls ``spool``.  ``group_commit`` gathers requests for one commit; ``commands`` is
what it passes to the thread of ``writer``, which applies it in a ``transaction``.  ``read_thread``
and ``chunk_reader`` read beside it.  ``file`` opens the file whatever has happened to it, with
``recovery`` where it is damaged; ``space`` says whether there is room for more.
"""

from gateway.spool.sqlite.spool import SqliteSpool

__all__ = ["SqliteSpool"]
