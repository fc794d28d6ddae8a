-- {p} is the prefix. All times are in microseconds. What can expire has a column `expires`.
CREATE TABLE {p}families (
  id BLOB PRIMARY KEY,
  subject BLOB NOT NULL,
  secret BLOB NOT NULL,
  previous BLOB,
  sealed BLOB,
  login BLOB NOT NULL,
  created INTEGER NOT NULL,
  used INTEGER NOT NULL,
  ends INTEGER NOT NULL,
  idle INTEGER NOT NULL,
  expires INTEGER NOT NULL
);
CREATE INDEX {p}families_subject ON {p}families (subject);
CREATE INDEX {p}families_expires ON {p}families (expires);

-- When all families of a subject were ended, for as long as a login may take.
CREATE TABLE {p}ended (
  subject BLOB PRIMARY KEY,
  ended INTEGER NOT NULL,
  expires INTEGER NOT NULL
);
CREATE INDEX {p}ended_expires ON {p}ended (expires);

-- A row for each failure, and for each attempt in progress.
CREATE TABLE {p}attempts (
  key BLOB NOT NULL,
  id INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  PRIMARY KEY (key, id)
);
CREATE INDEX {p}attempts_expires ON {p}attempts (expires);

-- AUTOINCREMENT: no number is used twice, so that each copy can ask for the rows after the last that it has. One transaction
-- writes at a time, so they commit in this order.
CREATE TABLE {p}denied (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  key BLOB UNIQUE NOT NULL,
  subject BLOB NOT NULL,
  ended_before INTEGER,
  expires INTEGER NOT NULL
);
CREATE INDEX {p}denied_subject ON {p}denied (subject);
CREATE INDEX {p}denied_expires ON {p}denied (expires);
