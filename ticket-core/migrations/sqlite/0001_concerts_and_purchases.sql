-- Times are microseconds since 1970-01-01 UTC. Amounts are minor units of the currency.
CREATE TABLE concerts (
    id            BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    slug          TEXT    NOT NULL UNIQUE,
    title         TEXT    NOT NULL,
    venue         TEXT    NOT NULL,
    starts_at     INTEGER NOT NULL,
    on_sale_from  INTEGER,
    on_sale_until INTEGER,
    capacity      INTEGER NOT NULL CHECK (capacity BETWEEN 1 AND 10000000),
    price         INTEGER NOT NULL CHECK (price >= 0),
    currency      TEXT    NOT NULL CHECK (length(currency) = 3),
    max_per_buyer INTEGER CHECK (max_per_buyer >= 1),
    sold          INTEGER NOT NULL DEFAULT 0 CHECK (sold >= 0 AND sold <= capacity)
) STRICT, WITHOUT ROWID;

CREATE TABLE purchases (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    concert_id      BLOB    NOT NULL REFERENCES concerts (id),
    buyer           TEXT    NOT NULL,
    quantity        INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 10),
    total           INTEGER NOT NULL CHECK (total >= 0),
    currency        TEXT    NOT NULL CHECK (length(currency) = 3),
    status          TEXT    NOT NULL CHECK (status IN ('paid', 'refunded')),
    created_at      INTEGER NOT NULL,
    refunded_at     INTEGER,
    idempotency_key TEXT,
    request_digest  BLOB,
    CHECK ((status = 'refunded') = (refunded_at IS NOT NULL)),
    CHECK ((idempotency_key IS NULL) = (request_digest IS NULL))
) STRICT, WITHOUT ROWID;

-- A key belongs to a concert and buys once.
CREATE UNIQUE INDEX purchases_by_key ON purchases (concert_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- What one buyer holds, for max_per_buyer.
CREATE INDEX purchases_by_buyer ON purchases (concert_id, buyer);
