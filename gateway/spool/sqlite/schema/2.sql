-- From format 1 to 2: dead letters that can be found, proven and mapped again.

-- What an event was received with, so that it can be mapped again as if it had just arrived: the
-- source's name, and the time of receipt, clock skew and client address of gateway/events.py.
-- All are null for a record.
ALTER TABLE dead_letters ADD COLUMN source      TEXT;
ALTER TABLE dead_letters ADD COLUMN received_ms INTEGER;
ALTER TABLE dead_letters ADD COLUMN skew_ms     INTEGER;
ALTER TABLE dead_letters ADD COLUMN client_ip   TEXT;

-- Bytes of payload and detail.
ALTER TABLE dead_letters ADD COLUMN size INTEGER NOT NULL DEFAULT 0;

-- CRC-32 as that of a chunk; null in letters that format 1 kept.
ALTER TABLE dead_letters ADD COLUMN checksum INTEGER;

UPDATE dead_letters SET size = length(payload) + length(detail);

-- Summaries and filters come from this index alone.
CREATE INDEX dead_letters_by_reason
    ON dead_letters (queue_id, kind, reason, created_ms, id, size);

-- What became of dead letters: dead_lettered = kept + purged + dropped + lost.  A person purged, a
-- limit (size or age) dropped, and damage to the file lost them; lost counts the records of damaged
-- chunks too.  Replayed ones are no dead letters any more, but pending.
ALTER TABLE ledger ADD COLUMN replayed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN purged   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN dropped  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ledger ADD COLUMN lost     INTEGER NOT NULL DEFAULT 0;

-- CRC-32 of the row, so that a damaged counter is known; null in rows that format 1 wrote.
ALTER TABLE ledger ADD COLUMN checksum INTEGER;
