-- The spool's file, format 1.  Each file here leads from the format before to that of its name;
-- a new spool runs all of them.  What a column means is said in gateway/spool/base.py.

CREATE TABLE queues (
    id          INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    endpoint    TEXT NOT NULL,
    UNIQUE (destination, endpoint)
);

-- AUTOINCREMENT: an id is never used twice, so a reader that asks for "after 7" misses nothing.
CREATE TABLE chunks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    queue_id   INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    records    INTEGER NOT NULL,
    raw_bytes  INTEGER NOT NULL,
    encoding   TEXT    NOT NULL,
    checksum   INTEGER NOT NULL,
    payload    BLOB    NOT NULL
);

-- Everything that is counted comes from this index alone: a large spool opens without reading
-- its payloads.
CREATE INDEX chunks_of_queue ON chunks (queue_id, id, records, created_ms);

-- Records since the spool was created.  Pending is not among them: it is counted from the chunks,
-- so that the two can prove each other.
CREATE TABLE ledger (
    destination   TEXT PRIMARY KEY,
    accepted      INTEGER NOT NULL,
    delivered     INTEGER NOT NULL,
    dead_lettered INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    created_ms INTEGER NOT NULL,
    queue_id   INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    payload    BLOB    NOT NULL
);

-- Chunks as they were found, whatever their columns hold; payload is null when it was unreadable.
CREATE TABLE damaged_chunks (
    id         INTEGER PRIMARY KEY,
    found_ms   INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    queue_id, created_ms, records, raw_bytes, encoding, checksum, payload
);
