-- {p} is the schema and the prefix. All times are in microseconds. What can expire has a column `expires`.
CREATE TABLE {p}families (
  id bytea PRIMARY KEY,
  subject bytea NOT NULL,
  secret bytea NOT NULL,
  previous bytea,
  sealed bytea,
  login bytea NOT NULL,
  created bigint NOT NULL,
  used bigint NOT NULL,
  ends bigint NOT NULL,
  idle bigint NOT NULL,
  expires bigint NOT NULL
);
CREATE INDEX ON {p}families (subject);
CREATE INDEX ON {p}families (expires);

-- When all families of a subject were ended, for as long as a login may take.
CREATE TABLE {p}ended (
  subject bytea PRIMARY KEY,
  ended bigint NOT NULL,
  expires bigint NOT NULL
);
CREATE INDEX ON {p}ended (expires);

-- A row for each failure, and for each attempt in progress.
CREATE TABLE {p}attempts (
  key bytea NOT NULL,
  id bigint NOT NULL,
  failed boolean NOT NULL,
  expires bigint NOT NULL,
  PRIMARY KEY (key, id)
);
CREATE INDEX ON {p}attempts (expires);

-- `tx` is the transaction that wrote the row: see `changes` in deny_list.rs.
CREATE TABLE {p}denied (
  key bytea PRIMARY KEY,
  subject bytea NOT NULL,
  ended_before bigint,
  expires bigint NOT NULL,
  tx bigint NOT NULL
);
CREATE INDEX ON {p}denied (subject);
CREATE INDEX ON {p}denied (expires);
CREATE INDEX ON {p}denied (tx);

CREATE FUNCTION {p}clock() RETURNS bigint LANGUAGE sql AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- The time, unless the caller has given up. Waiting for a lock ends about then, too. What changes something asks at its end
-- again: it may have waited, or been slow.
CREATE FUNCTION {p}now(a_deadline bigint, a_left bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}clock();
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'the stores need the isolation level READ COMMITTED: set default_transaction_isolation for their user'
      USING ERRCODE = 'OA002';
  END IF;
  -- Too far ahead is late, too: the clock was set back, and the deadline would hold for longer than its caller.
  IF t >= a_deadline OR a_deadline - t > a_left + 50000 THEN
    RAISE EXCEPTION 'the caller has given up' USING ERRCODE = 'OA001';
  END IF;
  PERFORM set_config('lock_timeout', greatest(1, (a_deadline - t) / 1000)::text, true);
  RETURN t;
END $$;

-- The time at which no other transaction decides about this key any more.
CREATE FUNCTION {p}locked(a_deadline bigint, a_left bigint, a_key bytea) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  PERFORM {p}now(a_deadline, a_left);
  PERFORM pg_advisory_xact_lock(('x' || encode(substr(a_key, 1, 8), 'hex'))::bit(64)::bigint);
  RETURN {p}now(a_deadline, a_left);
END $$;

CREATE FUNCTION {p}insert(
  a_deadline bigint, a_left bigint, a_id bytea, a_subject bytea, a_secret bytea, a_login bytea,
  a_absolute bigint, a_idle bigint, a_age bigint, a_limit bigint
) RETURNS TABLE (r_inserted boolean) LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}locked(a_deadline, a_left, a_subject);
  -- The age is that at the deadline, however long the call waited.
  verified bigint := a_deadline - a_age;
BEGIN
  IF EXISTS (SELECT FROM {p}ended e WHERE e.subject = a_subject AND e.expires > t AND e.ended >= verified) THEN
    RETURN QUERY SELECT false;
    RETURN;
  END IF;
  DELETE FROM {p}families f WHERE f.id = a_id AND f.expires <= t;
  DELETE FROM {p}families f WHERE f.subject = a_subject AND (f.expires <= t OR f.id IN (
    SELECT o.id FROM {p}families o WHERE o.subject = a_subject AND o.expires > t
    ORDER BY o.created DESC, o.id OFFSET a_limit - 1));
  INSERT INTO {p}families (id, subject, secret, login, created, used, ends, idle, expires)
    VALUES (a_id, a_subject, a_secret, a_login, verified, t, t + a_absolute, a_idle, t + least(a_absolute, a_idle));
  DELETE FROM {p}families f WHERE f.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {p}families o WHERE o.expires <= t ORDER BY o.expires LIMIT 8 FOR UPDATE SKIP LOCKED));
  DELETE FROM {p}ended e WHERE e.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {p}ended o WHERE o.expires <= t ORDER BY o.expires LIMIT 8 FOR UPDATE SKIP LOCKED));
  PERFORM {p}now(a_deadline, a_left);
  RETURN QUERY SELECT true;
END $$;

CREATE FUNCTION {p}find(a_deadline bigint, a_left bigint, a_id bytea, a_subject bytea) RETURNS TABLE (
  r_id bytea, r_secret bytea, r_previous bytea, r_sealed bytea, r_login bytea,
  r_rest bigint, r_idle bigint, r_age bigint, r_unused bigint
) LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}now(a_deadline, a_left);
BEGIN
  IF a_id IS NOT NULL THEN
    RETURN QUERY SELECT f.id, f.secret, f.previous, f.sealed, f.login, f.ends - t, f.idle, t - f.created, t - f.used
      FROM {p}families f WHERE f.id = a_id AND f.expires > t;
  ELSE
    RETURN QUERY SELECT f.id, f.secret, f.previous, f.sealed, f.login, f.ends - t, f.idle, t - f.created, t - f.used
      FROM {p}families f WHERE f.subject = a_subject AND f.expires > t ORDER BY f.created DESC, f.id;
  END IF;
END $$;

CREATE FUNCTION {p}rotate(a_deadline bigint, a_left bigint, a_id bytea, a_old bytea, a_new bytea, a_sealed bytea)
RETURNS TABLE (r_code integer) LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}now(a_deadline, a_left);
  f record;
BEGIN
  SELECT o.secret, o.expires INTO f FROM {p}families o WHERE o.id = a_id FOR UPDATE;
  t := {p}now(a_deadline, a_left);
  IF f.expires IS NULL OR f.expires <= t THEN
    RETURN QUERY SELECT 0;
  ELSIF f.secret <> a_old THEN
    RETURN QUERY SELECT 1;
  ELSE
    UPDATE {p}families o SET previous = o.secret, secret = a_new, sealed = a_sealed, used = t,
      expires = least(o.ends, t + o.idle) WHERE o.id = a_id;
    PERFORM {p}now(a_deadline, a_left);
    RETURN QUERY SELECT 2;
  END IF;
END $$;

CREATE FUNCTION {p}revoke(a_deadline bigint, a_left bigint, a_id bytea)
RETURNS TABLE (r_revoked boolean) LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}now(a_deadline, a_left);
BEGIN
  DELETE FROM {p}families o WHERE o.id = a_id;
  RETURN QUERY SELECT FOUND;
  PERFORM {p}now(a_deadline, a_left);
END $$;

CREATE FUNCTION {p}end_subject(a_deadline bigint, a_left bigint, a_subject bytea, a_except bytea, a_kept bigint)
RETURNS TABLE (r_ended bigint) LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}locked(a_deadline, a_left, a_subject);
BEGIN
  INSERT INTO {p}ended AS e (subject, ended, expires) VALUES (a_subject, t, t + a_kept)
    ON CONFLICT (subject) DO UPDATE SET ended = greatest(e.ended, t), expires = greatest(e.expires, excluded.expires);
  RETURN QUERY WITH gone AS (
    DELETE FROM {p}families f WHERE f.subject = a_subject AND f.id IS DISTINCT FROM a_except RETURNING f.expires
  ) SELECT count(*) FROM gone WHERE gone.expires > t;
  PERFORM {p}now(a_deadline, a_left);
END $$;

CREATE FUNCTION {p}reserve(
  a_deadline bigint, a_left bigint, a_key bytea, a_id bigint, a_limit bigint, a_lease bigint
) RETURNS TABLE (r_code integer, r_wait bigint) LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}locked(a_deadline, a_left, a_key);
  failures bigint;
  taken bigint;
BEGIN
  SELECT count(*) FILTER (WHERE a.failed), count(*) INTO failures, taken
    FROM {p}attempts a WHERE a.key = a_key AND a.expires > t;
  IF failures >= a_limit THEN
    -- Blocked until so many failures have expired that one slot is free.
    RETURN QUERY SELECT 2, a.expires - t FROM {p}attempts a WHERE a.key = a_key AND a.failed AND a.expires > t
      ORDER BY a.expires DESC OFFSET a_limit - 1 LIMIT 1;
  ELSIF taken >= a_limit THEN
    RETURN QUERY SELECT 1, 0::bigint;
  ELSE
    INSERT INTO {p}attempts VALUES (a_key, a_id, false, t + a_lease)
      ON CONFLICT (key, id) DO UPDATE SET failed = false, expires = excluded.expires;
    DELETE FROM {p}attempts a WHERE a.ctid = ANY (ARRAY(
      SELECT o.ctid FROM {p}attempts o WHERE o.expires <= t ORDER BY o.expires LIMIT 8 FOR UPDATE SKIP LOCKED));
    PERFORM {p}now(a_deadline, a_left);
    RETURN QUERY SELECT 0, 0::bigint;
  END IF;
END $$;

CREATE FUNCTION {p}settle(
  a_deadline bigint, a_left bigint, a_key bytea, a_id bigint, a_failed boolean, a_clears boolean,
  a_limit bigint, a_window bigint
) RETURNS TABLE (r_settled boolean) LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}locked(a_deadline, a_left, a_key);
BEGIN
  IF a_failed THEN
    INSERT INTO {p}attempts VALUES (a_key, a_id, true, t + a_window)
      ON CONFLICT (key, id) DO UPDATE SET failed = true, expires = excluded.expires;
    -- The newest failures alone decide how long the key is blocked.
    DELETE FROM {p}attempts a WHERE a.key = a_key AND a.failed AND a.id IN (
      SELECT o.id FROM {p}attempts o WHERE o.key = a_key AND o.failed
      ORDER BY o.expires DESC OFFSET greatest(a_limit, 1));
  ELSE
    DELETE FROM {p}attempts a WHERE a.key = a_key AND CASE WHEN a.failed THEN a_clears ELSE a.id = a_id END;
  END IF;
  PERFORM {p}now(a_deadline, a_left);
  RETURN QUERY SELECT true;
END $$;

CREATE FUNCTION {p}deny(
  a_deadline bigint, a_left bigint, a_key bytea, a_subject bytea, a_before bigint, a_ttl bigint,
  a_share bigint, a_most bigint, a_channel text
) RETURNS TABLE (r_kept boolean, r_left bigint, r_before bigint) LANGUAGE plpgsql AS $$
DECLARE
  t bigint := {p}locked(a_deadline, a_left, a_subject);
BEGIN
  IF NOT EXISTS (SELECT FROM {p}denied d WHERE d.key = a_key AND d.expires > t) THEN
    IF a_before IS NULL AND a_share <= (SELECT count(*) FROM {p}denied d
        WHERE d.subject = a_subject AND d.ended_before IS NULL AND d.expires > t) THEN
      RETURN QUERY SELECT false, 0::bigint, 0::bigint;
      RETURN;
    END IF;
    IF a_most <= (SELECT count(*) FROM {p}denied d WHERE d.expires > t) THEN
      RAISE EXCEPTION 'the deny list is full' USING ERRCODE = 'OA003';
    END IF;
  END IF;
  INSERT INTO {p}denied AS d VALUES (a_key, a_subject, a_before, t + a_ttl, txid_current())
    ON CONFLICT (key) DO UPDATE SET ended_before = greatest(d.ended_before, excluded.ended_before),
      expires = greatest(d.expires, excluded.expires), tx = excluded.tx
    WHERE excluded.expires > d.expires OR excluded.ended_before > d.ended_before;
  -- It is delivered when this transaction commits.
  IF FOUND THEN
    PERFORM pg_notify(a_channel, '');
  END IF;
  DELETE FROM {p}denied d WHERE d.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {p}denied o WHERE o.expires <= t ORDER BY o.expires LIMIT 8 FOR UPDATE SKIP LOCKED));
  PERFORM {p}now(a_deadline, a_left);
  RETURN QUERY SELECT true, d.expires - t, d.ended_before FROM {p}denied d WHERE d.key = a_key;
END $$;
