BEGIN IMMEDIATE;
CREATE TABLE epochs (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, began_at INTEGER NOT NULL);
CREATE TABLE heads (camera TEXT PRIMARY KEY, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL);
CREATE TABLE verdicts (
    id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL REFERENCES epochs, camera TEXT NOT NULL, sequence INTEGER NOT NULL,
    captured_at INTEGER NOT NULL, verdict TEXT NOT NULL, body BLOB NOT NULL, heatmap BLOB, picture TEXT,
    picture_bytes INTEGER);
CREATE UNIQUE INDEX by_sequence ON verdicts (camera, epoch, sequence);
CREATE INDEX by_time ON verdicts (captured_at);
CREATE INDEX by_verdict ON verdicts (verdict, captured_at);
CREATE INDEX with_picture ON verdicts (id, picture_bytes) WHERE picture IS NOT NULL;
PRAGMA user_version = 1;
COMMIT;
