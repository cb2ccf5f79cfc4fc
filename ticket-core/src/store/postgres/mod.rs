//! PostgreSQL store, for several servers on one database. Databases that speak its protocol work
//! too, such as Cloud SQL, AlloyDB and CockroachDB.

mod connect;
mod session;
mod transactions;

use std::pin::Pin;

use jiff::Timestamp;
use sqlx::{Postgres as Db, Row};
use uuid::Uuid;

use self::session::SessionMode;
use super::{
    Failure, Order, OrderResult, PoolState, Probe, Reads, Response, Stock, Store, Timeouts,
    connections::{Connections, Lease},
    rows::{self, stock_columns},
};
use crate::{
    Concert, ConcertId, Error, Purchase, PurchaseId, concert::MAX_CAPACITY,
    database_url::PostgresUrl,
};

/// Number of batches that are committed concurrently. A concert always uses the same lane, so that
/// batches do not wait for each other's row locks.
const LANES: usize = 4;

/// Database on a server that other processes may use too.
pub(crate) struct Postgres {
    connections: Connections<Db>,
    mode: SessionMode,
    probe: Probe,
}

impl Postgres {
    pub(crate) async fn open(
        url: &PostgresUrl,
        connections: u32,
        timeouts: Timeouts,
        probe: Probe,
    ) -> Result<Self, Error> {
        let (pool, mode) = connect::open(url, connections, timeouts, &probe).await?;
        Ok(Self {
            connections: Connections {
                name: "postgresql",
                pool,
                probe: probe.clone(),
                begin: mode.begin_statement(),
                file: None,
            },
            mode,
            probe,
        })
    }

    /// Takes a connection for one transaction.
    async fn session(&self) -> Result<Session<'_>, Failure> {
        Ok(Session {
            lease: self.connections.acquire().await?,
            mode: &self.mode,
            probe: &self.probe,
        })
    }
}

/// Exclusive use of a connection, with what its transactions need.
struct Session<'a> {
    lease: Lease<Db>,
    mode: &'a SessionMode,
    probe: &'a Probe,
}

impl Store for Postgres {
    fn reads(&self) -> &dyn Reads {
        &self.connections
    }

    fn lanes(&self) -> usize {
        LANES
    }

    fn create_concert<'a>(&'a self, concert: &'a Concert) -> Response<'a, bool> {
        Box::pin(async move {
            let mut session = self.session().await?;
            let create = session.create_concert(concert);
            let created = self.probe.write("create_concert", create).await;
            session.lease.release(created)
        })
    }

    fn sell<'a>(&'a self, orders: &'a [Order]) -> Response<'a, bool> {
        Box::pin(async move {
            let mut session = self.session().await?;
            let sold = self.probe.write("sell", session.sell(orders)).await;
            session.lease.release(sold)
        })
    }

    fn decide<'a>(&'a self, orders: &'a [Order]) -> Response<'a, Vec<OrderResult>> {
        Box::pin(async move {
            let mut session = self.session().await?;
            let results = self.probe.write("decide", session.decide(orders)).await;
            session.lease.release(results)
        })
    }

    fn committed<'a>(&'a self, orders: &'a [Order]) -> Response<'a, Vec<bool>> {
        Box::pin(async move {
            let mut session = self.session().await?;
            let find = session.find_committed(orders);
            let committed = self.probe.read("find_committed", find).await;
            let committed = session.lease.release(committed)?;
            Ok(orders
                .iter()
                .map(|order| committed.contains(&order.purchase.id))
                .collect())
        })
    }

    fn refund(
        &self,
        id: PurchaseId,
        at: Timestamp,
        may_have_committed: bool,
    ) -> Response<'_, Option<(Purchase, bool)>> {
        Box::pin(async move {
            let mut session = self.session().await?;
            let refund = session.refund(id, at, may_have_committed);
            let refunded = self.probe.write("refund", refund).await;
            session.lease.release(refunded)
        })
    }

    fn restock(&self, id: ConcertId, tickets: u32) -> Response<'_, Option<Concert>> {
        Box::pin(async move {
            let mut session = self.session().await?;
            let restock = session.restock(id, tickets, MAX_CAPACITY);
            let concert = self.probe.write("restock", restock).await;
            session.lease.release(concert)
        })
    }

    fn reset_sales(&self, id: ConcertId) -> Response<'_, Option<(Concert, u32)>> {
        Box::pin(async move {
            let mut session = self.session().await?;
            let concert = self
                .probe
                .write("reset_sales", session.reset_sales(id))
                .await;
            session.lease.release(concert)
        })
    }

    fn stock_of<'a>(&'a self, ids: &'a [ConcertId]) -> Response<'a, Vec<Stock>> {
        Box::pin(async move {
            let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
            let query = sqlx::query(concat!(
                "SELECT ",
                stock_columns!(),
                " FROM concerts WHERE id = ANY($1)"
            ));
            let rows = self.connections.rows("read_stock", query.bind(ids)).await?;
            Ok(rows.iter().map(rows::stock).collect::<Result<_, _>>()?)
        })
    }

    fn ping(&self) -> Response<'_, ()> {
        Box::pin(async move {
            if self.probe.health.must_test_writes()? {
                let mut session = self.session().await?;
                let written = self.probe.write("ping", session.test_writes()).await;
                return session.lease.release(written);
            }
            let mut lease = self.connections.acquire().await?;
            let read = async {
                let query = sqlx::query(
                    "SELECT current_setting('transaction_read_only'), \
                     EXISTS (SELECT 1 FROM concerts)",
                );
                let rows = self.connections.fetch(lease.connection(), query);
                let rows = self.probe.with_timeout(rows).await?;
                let read_only: Option<String> =
                    rows.first().map(|row| row.try_get(0)).transpose()?;
                match read_only.as_deref() {
                    Some("on") => Err(Failure::read_only()),
                    _ => Ok(()),
                }
            };
            let result = self.probe.read("ping", read).await;
            lease.release(result)
        })
    }

    fn servers(&self) -> Response<'_, Option<u32>> {
        Box::pin(async move {
            if self.mode.is_shared() {
                // A pooler's sessions do not belong to one server each.
                return Ok(None);
            }
            let mut lease = self.connections.acquire().await?;
            let query = sqlx::query_scalar(
                "SELECT count(DISTINCT application_name) FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name LIKE 'tickets-%'",
            )
            .fetch_one(lease.connection());
            let count: Result<i64, _> = self.probe.with_timeout(query).await;
            let count = lease.release(count.map_err(Failure::from))?;
            // Without the permission to see its own session, the count is 0.
            Ok(u32::try_from(count).ok().filter(|count| *count > 0))
        })
    }

    fn pools(&self) -> Vec<PoolState> {
        vec![self.connections.state()]
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.connections.pool.close())
    }
}
