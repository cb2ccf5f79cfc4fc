-- Times are microseconds since 1970-01-01 UTC. Amounts are minor units of the currency.
-- A row of concerts is updated by every purchase: room in its page keeps the new version there.
CREATE TABLE concerts (
    id            UUID   NOT NULL PRIMARY KEY,
    slug          TEXT   NOT NULL UNIQUE,
    title         TEXT   NOT NULL,
    venue         TEXT   NOT NULL,
    starts_at     BIGINT NOT NULL,
    on_sale_from  BIGINT,
    on_sale_until BIGINT,
    capacity      BIGINT NOT NULL CHECK (capacity BETWEEN 1 AND 10000000),
    price         BIGINT NOT NULL CHECK (price >= 0),
    currency      TEXT   NOT NULL CHECK (length(currency) = 3),
    max_per_buyer BIGINT CHECK (max_per_buyer >= 1),
    sold          BIGINT NOT NULL DEFAULT 0 CHECK (sold >= 0 AND sold <= capacity)
) WITH (fillfactor = 50);

CREATE TABLE purchases (
    id              UUID   NOT NULL PRIMARY KEY,
    concert_id      UUID   NOT NULL REFERENCES concerts (id),
    buyer           TEXT   NOT NULL,
    quantity        BIGINT NOT NULL CHECK (quantity BETWEEN 1 AND 10),
    total           BIGINT NOT NULL CHECK (total >= 0),
    currency        TEXT   NOT NULL CHECK (length(currency) = 3),
    status          TEXT   NOT NULL CHECK (status IN ('paid', 'refunded')),
    created_at      BIGINT NOT NULL,
    refunded_at     BIGINT,
    idempotency_key TEXT,
    request_digest  BYTEA,
    CHECK ((status = 'refunded') = (refunded_at IS NOT NULL)),
    CHECK ((idempotency_key IS NULL) = (request_digest IS NULL))
);

-- A key belongs to a concert and buys once.
CREATE UNIQUE INDEX purchases_by_key ON purchases (concert_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- What one buyer holds, for max_per_buyer.
CREATE INDEX purchases_by_buyer ON purchases (concert_id, buyer);
