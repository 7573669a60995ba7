-- From format 2 to 3: damaged dead letters are taken out of the others, as damaged chunks are.

-- Dead letters as they were found, whatever their columns hold.
CREATE TABLE damaged_letters (
    id       INTEGER PRIMARY KEY,
    found_ms INTEGER NOT NULL,
    created_ms, queue_id, kind, reason, detail, payload, source, received_ms, skew_ms, client_ip,
    size, checksum
);
