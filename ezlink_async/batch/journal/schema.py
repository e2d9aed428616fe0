"""
The tables of a journal, and how those of earlier versions become them.

Version 1 had the sentence of an error and no reason. Version 2 did not store which
state tags the submits of a job carried that may be paid. Version 3 knew swaps only.
"""

from __future__ import annotations

from ezlink_async.batch.journal.row_checks import check_rows
from ezlink_async.batch.journal.sqlite import Schema

# Columns of version 1: `place` is an output path, `wished` the wanted one, `same`
# the key of an output path, and `mark` a state tag.
_FIRST = """
CREATE TABLE places (
    same PRIMARY KEY NOT NULL,
    place NOT NULL,
    wished NOT NULL,
    source NOT NULL,
    target NOT NULL,
    content BLOB NOT NULL,
    run INTEGER NOT NULL,
    UNIQUE (target, source, wished)
) WITHOUT ROWID;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    source_hash BLOB NOT NULL,
    target_hash BLOB NOT NULL,
    options TEXT NOT NULL,
    place NOT NULL,
    source NOT NULL,
    target NOT NULL,
    state TEXT NOT NULL,
    unclear INTEGER NOT NULL DEFAULT 0,
    task_id TEXT,
    mark TEXT,
    request_ids TEXT NOT NULL DEFAULT '',
    error TEXT,
    image_url TEXT,
    changes TEXT NOT NULL DEFAULT '[]',
    output,
    output_size INTEGER,
    output_hash BLOB,
    since REAL,
    sent_at REAL,
    ended_at REAL,
    UNIQUE (server, source_hash, target_hash, options, place)
);
CREATE INDEX open_jobs ON jobs (state)
    WHERE state IN ('submitting', 'submitted', 'succeeded', 'unknown');
CREATE TABLE remarks (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    source NOT NULL,
    target NOT NULL,
    error TEXT NOT NULL
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started_at REAL NOT NULL,
    ended_at REAL,
    facts TEXT NOT NULL DEFAULT '{}'
);
"""

# Version 1 had the sentence of an error, and no reason.
_SENTENCES = {
    "DownloadError: the server no longer has the result": "result_gone",
    "FileExistsError": "exists",
    "BudgetReached": "budget",
    "TooManyFailures": "failures",
    "Interrupted": "interrupted",
    "ImageError": "unusable",
    "ConfigurationError": "unusable",
}
_CASES = "\n".join(
    f"WHEN error GLOB '{start}*' THEN '{reason}'"
    for start, reason in _SENTENCES.items()
)
_SECOND = "".join(
    f"ALTER TABLE {table} ADD COLUMN reason TEXT; "  # noqa: S608 - our own words
    f"UPDATE {table} SET reason = CASE {_CASES} END;"
    for table in ("jobs", "remarks")
)

# Which state tags the submits of an unclear job carried was not stored before.
_THIRD = """
CREATE INDEX saved_jobs ON jobs (place) WHERE state = 'saved';
UPDATE jobs SET unclear = 2 WHERE unclear <> 0;
"""

# A job is of some kind, and known by its request: canonical JSON, pictures as SHA-256
# in hex. `subject` is all by which a later run knows whose output path it is: for a
# swap both paths, the target first, else the request.
_FOURTH = """
ALTER TABLE places RENAME TO old_places;
ALTER TABLE jobs RENAME TO old_jobs;
ALTER TABLE remarks RENAME TO old_remarks;
DROP INDEX open_jobs;
DROP INDEX saved_jobs;
CREATE TABLE places (
    same PRIMARY KEY NOT NULL,
    place NOT NULL,
    wished NOT NULL,
    subject BLOB NOT NULL,
    content BLOB NOT NULL,
    run INTEGER NOT NULL,
    UNIQUE (subject, wished)
) WITHOUT ROWID;
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    kind TEXT NOT NULL,
    request TEXT NOT NULL,
    place NOT NULL,
    label TEXT NOT NULL,
    family TEXT NOT NULL,
    state TEXT NOT NULL,
    unclear INTEGER NOT NULL DEFAULT 0,
    task_id TEXT,
    mark TEXT,
    request_ids TEXT NOT NULL DEFAULT '',
    error TEXT,
    reason TEXT,
    record TEXT,
    changes TEXT NOT NULL DEFAULT '[]',
    since REAL,
    sent_at REAL,
    ended_at REAL,
    UNIQUE (server, kind, request, place)
);
CREATE TABLE inputs (
    job INTEGER NOT NULL,
    number INTEGER NOT NULL,
    role TEXT NOT NULL,
    path NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE outputs (
    job INTEGER NOT NULL,
    number INTEGER NOT NULL,
    path NOT NULL,
    size INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE remarks (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    error TEXT NOT NULL,
    reason TEXT
);
CREATE TABLE remark_inputs (
    remark INTEGER NOT NULL,
    number INTEGER NOT NULL,
    role TEXT NOT NULL,
    path NOT NULL,
    PRIMARY KEY (remark, number)
) WITHOUT ROWID;
CREATE INDEX open_jobs ON jobs (state)
    WHERE state IN ('submitting', 'submitted', 'succeeded', 'unknown');
CREATE INDEX saved_jobs ON jobs (place) WHERE state = 'saved';
INSERT INTO places SELECT same, place, wished,
    CAST(target || char(0) || source AS BLOB), content, run FROM old_places;
INSERT INTO jobs SELECT id, server, 'swap',
    json_object(
        'options', json(options),
        'source', lower(hex(source_hash)),
        'target', lower(hex(target_hash))
    ),
    place, iif(typeof(target) = 'text', target, hex(target)), 'midjourney',
    state, unclear, task_id, mark, request_ids, error, reason,
    iif(task_id IS NULL OR image_url IS NULL, NULL, json_object(
        'task_id', task_id, 'status', 'SUCCESS', 'image_url', image_url
    )),
    changes, since, sent_at, ended_at FROM old_jobs;
INSERT INTO inputs SELECT id, 0, 'source', source FROM old_jobs;
INSERT INTO inputs SELECT id, 1, 'target', target FROM old_jobs;
INSERT INTO outputs SELECT id, 0, output, output_size, output_hash
    FROM old_jobs WHERE output IS NOT NULL;
INSERT INTO remarks SELECT id, run, 'swap',
    iif(typeof(target) = 'text', target, hex(target)), error, reason
    FROM old_remarks;
INSERT INTO remark_inputs SELECT id, 0, 'source', source FROM old_remarks;
INSERT INTO remark_inputs SELECT id, 1, 'target', target FROM old_remarks;
DROP TABLE old_places;
DROP TABLE old_jobs;
DROP TABLE old_remarks;
"""

SCHEMA = Schema(
    application=0x455A4C4A,  # "EZLJ", which `file` can recognize
    migrations=(_FIRST, _SECOND, _THIRD, _FOURTH),
    check_rows=check_rows,
)
