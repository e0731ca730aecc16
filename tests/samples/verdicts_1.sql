-- A database of verdicts as version 1 wrote it (application_id and user_version are set by the test).
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    undoes INTEGER UNIQUE REFERENCES events (id),
    fingerprint TEXT, dataset TEXT, split TEXT, visual_id TEXT, text_id TEXT, caption TEXT,
    judge TEXT NOT NULL,
    answer TEXT CHECK (answer IN ('yes', 'no', 'unsure')),
    at TEXT NOT NULL,
    run TEXT, selector TEXT, score REAL,
    CHECK ((undoes IS NULL) = (answer IS NOT NULL))
);
INSERT INTO "events" VALUES(1,'k0',NULL,'ffffffffffffffff','tiny','test','v0','v1#abc','a red dog','Ann','yes','2026-01-01T00:00:00.000+00:00','info_nce','top_ranked',0.5);
INSERT INTO "events" VALUES(2,'k1',NULL,'ffffffffffffffff','tiny','test','v1','v2#abc','a red dog','Ann','no','2026-01-02T00:00:00.000+00:00','info_nce','top_ranked',0.5);
INSERT INTO "events" VALUES(3,'k2',NULL,'ffffffffffffffff','tiny','test','v0','v1#abc','a red dog','Bo','unsure','2026-01-01T00:00:00.000+00:00','info_nce','top_ranked',0.5);
INSERT INTO "events" VALUES(4,'k3',NULL,'ffffffffffffffff','tiny','test','v0','v1#abc','a red dog','Ann','no','2026-01-01T00:00:00.000+00:00','info_nce','top_ranked',0.5);
INSERT INTO "events" VALUES(5,'k4',4,NULL,NULL,NULL,NULL,NULL,NULL,'Ann',NULL,'2026-01-03T00:00:00.000+00:00',NULL,NULL,NULL);
CREATE INDEX by_pair ON events (fingerprint, visual_id, text_id, judge, answer);
