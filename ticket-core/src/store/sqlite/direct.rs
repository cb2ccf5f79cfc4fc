//! Reads on the calling thread.
//!
//! sqlx executes the statements of a SQLite connection on a separate thread. Its two context switches
//! cost several times as much as the lookup of a row by its key, which takes about five microseconds
//! while its pages are in memory. The reads of requests therefore run on the thread that calls them. A
//! page that has to be read from the disk blocks that thread of the runtime: of a lookup, those from the
//! root to a leaf of one or two B-trees; of a list, those of one page of concerts.
//!
//! Everything but an undisturbed read takes the way through the pool, which waits without blocking
//! and reports errors: injected faults, a busy or failing database, and more concurrent reads than
//! there are connections.

use std::{
    future::ready,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Params, Row, types::ValueRef};
use uuid::Uuid;

use super::{READER_CACHE, Sqlite};
use crate::{
    Concert, ConcertId, Purchase, PurchaseId,
    database_url::SqliteUrl,
    store::{
        Audit, PoolState, Reads, Response, Stock, StockSums, Totals,
        reads::{FIND_KEY, LIST_CONCERTS, READ_CONCERT, READ_PURCHASE},
        rows::{self, Cells},
    },
};

/// Name of the connections in metrics.
const POOL: &str = "sqlite_direct";

/// Connections for reads on the calling thread.
pub(super) struct DirectReads {
    path: PathBuf,
    max: u32,
    /// `None` after [`close`](Self::close).
    connections: Mutex<Option<Connections>>,
}

struct Connections {
    idle: Vec<Connection>,
    /// Number of connections that may still be opened.
    unopened: u32,
}

impl DirectReads {
    /// Reads from the file at `path` on up to `max` connections, which are opened when needed. None
    /// are if the URL selects how SQLite accesses the file.
    pub(super) fn new(url: &SqliteUrl, path: &Path, max: u32) -> Self {
        let connections = Connections {
            idle: Vec::new(),
            unopened: max,
        };
        Self {
            path: path.to_owned(),
            max,
            connections: Mutex::new((!url.has_file_options()).then_some(connections)),
        }
    }

    /// Closes the connections.
    pub(super) fn close(&self) {
        let connections = self.lock().take();
        drop(connections);
    }

    /// Returns the numbers of connections, or `None` if there are none.
    pub(super) fn state(&self) -> Option<PoolState> {
        let connections = self.lock();
        let connections = connections.as_ref()?;
        let open = self.max - connections.unopened;
        let idle = u32::try_from(connections.idle.len())
            .expect("no more connections are idle than are open");
        Some(PoolState {
            name: POOL,
            used: open - idle,
            idle,
            max: self.max,
        })
    }

    /// Gives a connection back, or closes it after an error.
    fn release<T>(&self, connection: Connection, rows: &Result<T, sqlx::Error>) {
        if let Some(connections) = &mut *self.lock() {
            match rows {
                Ok(_) => connections.idle.push(connection),
                Err(_) => connections.unopened += 1,
            }
        }
    }

    fn take(&self) -> Option<Connection> {
        {
            let mut connections = self.lock();
            let connections = connections.as_mut()?;
            if let Some(connection) = connections.idle.pop() {
                return Some(connection);
            }
            connections.unopened = connections.unopened.checked_sub(1)?;
        }
        let opened = open(&self.path);
        if let (Err(_), Some(connections)) = (&opened, &mut *self.lock()) {
            connections.unopened += 1;
        }
        opened.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connections>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    // The file must exist. Each connection is used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // The pool waits instead.
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.pragma_update(None, "cache_size", READER_CACHE)?;
    Ok(connection)
}

fn rows_of<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    convert: fn(&DirectRow<'_>) -> Result<T, sqlx::Error>,
) -> Result<Vec<T>, sqlx::Error> {
    let mut statement = connection.prepare_cached(sql).map_err(decode)?;
    let mut rows = statement.query(parameters).map_err(decode)?;
    let mut values = Vec::new();
    while let Some(row) = rows.next().map_err(decode)? {
        values.push(convert(&DirectRow(row))?);
    }
    Ok(values)
}

/// Row of a direct read.
struct DirectRow<'a>(&'a Row<'a>);

impl Cells for DirectRow<'_> {
    fn id(&self, column: usize) -> Result<Uuid, sqlx::Error> {
        let bytes = self.0.get_ref(column).map_err(decode)?.as_blob();
        Uuid::from_slice(bytes.map_err(decode)?).map_err(decode)
    }

    fn text(&self, column: usize) -> Result<String, sqlx::Error> {
        let text = self.0.get_ref(column).map_err(decode)?.as_str();
        Ok(text.map_err(decode)?.to_owned())
    }

    fn number(&self, column: usize) -> Result<Option<i64>, sqlx::Error> {
        match self.0.get_ref(column).map_err(decode)? {
            ValueRef::Null => Ok(None),
            value => value.as_i64().map(Some).map_err(decode),
        }
    }

    fn bytes(&self, column: usize) -> Result<Vec<u8>, sqlx::Error> {
        let bytes = self.0.get_ref(column).map_err(decode)?.as_blob();
        Ok(bytes.map_err(decode)?.to_owned())
    }
}

/// Returns an error that sends the read to the pool, which reports its cause.
fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

impl Sqlite {
    /// Reads on the calling thread. Returns `None` if the pool has to read.
    fn read<T>(
        &self,
        operation: &'static str,
        sql: &str,
        parameters: impl Params,
        convert: fn(&DirectRow<'_>) -> Result<T, sqlx::Error>,
    ) -> Option<Vec<T>> {
        if !self.probe.is_undisturbed() || self.file.check().is_err() {
            return None;
        }
        let begun = Instant::now();
        let connection = self.direct.take()?;
        let taken = Instant::now();
        let rows = rows_of(&connection, sql, parameters, convert);
        let read = taken.elapsed();
        self.direct.release(connection, &rows);
        // The pool reports a read that it repeats.
        let rows = rows.ok()?;
        self.probe.observer.connection_wait(POOL, taken - begun);
        self.probe.has_read(operation, read);
        Some(rows)
    }
}

/// Reads of requests are direct, all others take the pool.
impl Reads for Sqlite {
    fn concert(&self, id: ConcertId) -> Response<'_, Option<Concert>> {
        let id_bytes = id.as_uuid().into_bytes();
        match self.read("read_concert", READ_CONCERT, [id_bytes], |row| {
            rows::concert(row)
        }) {
            Some(mut rows) => Box::pin(ready(Ok(rows.pop()))),
            None => self.readers.concert(id),
        }
    }

    fn concerts(&self, limit: u32, after: Option<ConcertId>) -> Response<'_, Vec<Concert>> {
        let after_bytes = after.map_or(Uuid::nil(), ConcertId::as_uuid).into_bytes();
        let parameters = (after_bytes, limit);
        match self.read("list_concerts", LIST_CONCERTS, parameters, |row| {
            rows::concert(row)
        }) {
            Some(rows) => Box::pin(ready(Ok(rows))),
            None => self.readers.concerts(limit, after),
        }
    }

    fn purchase(&self, id: PurchaseId) -> Response<'_, Option<Purchase>> {
        let id_bytes = id.as_uuid().into_bytes();
        match self.read("read_purchase", READ_PURCHASE, [id_bytes], |row| {
            rows::purchase(row)
        }) {
            Some(mut rows) => Box::pin(ready(Ok(rows.pop()))),
            None => self.readers.purchase(id),
        }
    }

    fn purchase_by_key<'a>(
        &'a self,
        concert: ConcertId,
        key: &'a str,
    ) -> Response<'a, Option<(Purchase, Vec<u8>)>> {
        let parameters = (concert.as_uuid().into_bytes(), key);
        match self.read("find_key", FIND_KEY, parameters, |row| rows::keyed(row)) {
            Some(mut rows) => Box::pin(ready(Ok(rows.pop()))),
            None => self.readers.purchase_by_key(concert, key),
        }
    }

    fn stock(&self) -> Response<'_, Vec<Stock>> {
        self.readers.stock()
    }

    fn best_sellers(&self, limit: u32) -> Response<'_, Vec<Stock>> {
        self.readers.best_sellers(limit)
    }

    fn stock_sums(&self) -> Response<'_, StockSums> {
        self.readers.stock_sums()
    }

    fn totals(&self) -> Response<'_, Totals> {
        self.readers.totals()
    }

    fn audit(&self, limit: u32) -> Response<'_, Audit> {
        self.readers.audit(limit)
    }
}
