CREATE ROLE "app owner" LOGIN;
CREATE ROLE reader NOLOGIN;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE SCHEMA "odd / schema";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy; really');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE pair AS (a integer, b text);
CREATE SEQUENCE counter START 5 INCREMENT 7;
CREATE TABLE types (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    j json, jb jsonb, ints integer[], texts text[], n numeric(30, 10), ts timestamptz, d date,
    iv interval, raw bytea, u uuid, m mood, p positive, r int4range, mr datemultirange, tv tsvector,
    ip inet, net cidr, mac macaddr, b bit(5), vb bit varying, c pair, f4 real, f8 double precision,
    mon money, x xml, pt point, ch char(4), o oid, na name, lsn pg_lsn
);
INSERT INTO types (j, jb, ints, texts, n, ts, d, iv, raw, u, m, p, r, mr, tv, ip, net, mac, b, vb, c,
    f4, f8, mon, x, pt, ch, o, na, lsn) VALUES
 ('{"b": 1,  "a": [1, 2]}', '{"b": 1, "a": "\\n"}', '{1,NULL,3}', '{"a,b","c\"d",NULL,""}', 12345678901234567890.0123456789,
  '2026-02-03 04:05:06.789012+03', '0044-03-15 BC', '1 year 2 days -03:04:05.6', '\x00ff5c0a09', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  'happy; really', 7, '[1,10)', '{[2020-01-01,2020-02-01)}', 'a fat cat', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', B'10101', B'1',
  ROW(1, 'x"y'), 0.1, 1e-300, 1234.56, '<a>b</a>', '(1.5,2.5)', 'ab', 42, 'name', '16/B374D848'),
 (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 ('"\u00e4"', '[]', '{}', '{}', 'NaN', 'infinity', '-infinity', '0', '', '00000000-0000-0000-0000-000000000000', 'sad', 1, 'empty', '{}', '', '::1', '::/0', 'ff:ff:ff:ff:ff:ff', B'00000', B'', ROW(NULL, ''), 'NaN', '-Infinity', -0.01, '', '(0,0)', '', 0, '', '0/0');
CREATE TABLE texts (label text, value text);
INSERT INTO texts VALUES ('empty', ''), ('null', NULL), ('tab', E'a\tb'), ('newline', E'a\nb\r\n'),
    ('backslash', E'\\ \\. \\N \\n'), ('dot', E'\\.'), ('unicode', 'snow ☃ 😀 ä'), ('control', E'\b\f\v\x01');
INSERT INTO texts SELECT 'row ' || i, md5(i::text) FROM generate_series(1, 3000) i;
CREATE TABLE "Odd ""table"" / näme" ("a b" integer, "c""d" text, "e%f" text DEFAULT 'x;y');
INSERT INTO "Odd ""table"" / näme" VALUES (1, E'one\\', 'f');
CREATE TABLE "odd / schema".".." (id smallint PRIMARY KEY, v text);
INSERT INTO "odd / schema".".." SELECT i, 'v' || i FROM generate_series(-5, 5) i;
CREATE TABLE empty_table (id integer PRIMARY KEY, v text);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE users (
    id serial PRIMARY KEY, email text NOT NULL UNIQUE, secret bytea,
    lower_email text GENERATED ALWAYS AS (lower(email)) STORED,
    CONSTRAINT email_has_at CHECK (email LIKE '%@%')
);
INSERT INTO users (email, secret) SELECT 'User' || i || '@Example.org', digest(i::text, 'sha256') FROM generate_series(1, 500) i;
DELETE FROM users WHERE id % 7 = 0;
CREATE TABLE orders (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id integer NOT NULL REFERENCES users ON DELETE CASCADE,
    amount numeric NOT NULL, note text
);
INSERT INTO orders (user_id, amount, note) SELECT id, id * 1.5, repeat('n', id % 50) FROM users;
CREATE TABLE events (at date NOT NULL, kind text NOT NULL, v integer) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (kind);
CREATE TABLE events_2026_a PARTITION OF events_2026 FOR VALUES IN ('a');
CREATE TABLE events_2026_rest PARTITION OF events_2026 DEFAULT;
INSERT INTO events SELECT date '2025-06-01' + i, CASE WHEN i % 3 = 0 THEN 'a' ELSE 'b' END, i FROM generate_series(0, 500) i;
CREATE INDEX events_at ON events (at);
CREATE TABLE parent (a integer);
CREATE TABLE child (b integer) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 3);
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v text);
INSERT INTO cache VALUES ('k', 'v');
CREATE VIEW adults AS SELECT u.id, u.email, o.amount FROM users u JOIN orders o ON o.user_id = u.id;
CREATE MATERIALIZED VIEW totals AS SELECT user_id, sum(amount) AS total FROM orders GROUP BY user_id;
CREATE MATERIALIZED VIEW grand_total AS SELECT sum(total) AS total FROM totals;
CREATE MATERIALIZED VIEW never AS SELECT 1 AS one WITH NO DATA;
CREATE UNIQUE INDEX totals_user ON totals (user_id);
CREATE INDEX orders_amount ON orders (amount DESC) WHERE amount > 10;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    -- a comment; with a semicolon
    NEW.note := coalesce(NEW.note, '') || E'\n\\restrict x';
    RETURN NEW;
END;
$body$;
CREATE FUNCTION add_one(i integer) RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN i > 0 THEN i + 1 ELSE i END; END;
CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1; SELECT 2';
CREATE TRIGGER orders_touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
CREATE RULE no_delete AS ON DELETE TO texts DO INSTEAD (SELECT 1; SELECT 2);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders FOR SELECT TO reader USING (user_id > 10);
COMMENT ON TABLE users IS E'People; with ''quotes''\nand \\! lines';
COMMENT ON COLUMN users.email IS 'mail';
GRANT SELECT ON users, orders TO reader;
GRANT reader TO "app owner";
ALTER TABLE users OWNER TO "app owner";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;
CREATE STATISTICS stats (dependencies) ON user_id, amount FROM orders;
CREATE AGGREGATE product(integer) (SFUNC = int4mul, STYPE = integer, INITCOND = '1');
CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq);
CREATE PUBLICATION pub FOR TABLE users;
SELECT setval('counter', 40, true);
SELECT nextval('counter');
SELECT lo_from_bytea(90001, '\x00ff5c0a');
SELECT lo_from_bytea(90002, decode(repeat('00112233445566778899aabbccddeeff', 10000), 'hex'));
SELECT lo_from_bytea(90003, decode(repeat('ab', 65536), 'hex'));
SELECT lo_create(90004);
COMMENT ON LARGE OBJECT 90001 IS 'an object';
GRANT SELECT ON LARGE OBJECT 90001 TO reader;
ALTER LARGE OBJECT 90002 OWNER TO "app owner";
