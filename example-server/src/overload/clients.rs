//! Closed-loop clients, which take little processor time: each writes the same bytes again as soon
//! as the previous response has arrived.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Pause after a failed connection.
const RECONNECT: Duration = Duration::from_millis(100);

/// Numbers of responses so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    created: u64,
    unavailable: u64,
    other: u64,
    failed: u64,
}

/// Running clients, which end when this is dropped.
pub(super) struct Clients {
    counts: Rc<Cell<Counts>>,
    /// A permit for each client that has had a response.
    connected: Rc<Semaphore>,
    clients: u32,
    _tasks: JoinSet<()>,
}

impl Clients {
    /// Starts clients that send `request`. Must be called on a `LocalSet`.
    pub(super) fn start(address: SocketAddr, request: &[u8], clients: u32) -> Self {
        let counts = Rc::new(Cell::default());
        let connected = Rc::new(Semaphore::new(0));
        let request: Rc<[u8]> = request.into();
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (counts, request) = (Rc::clone(&counts), request.clone());
            let mut connected = Some(Rc::clone(&connected));
            tasks.spawn_local(async move {
                let mut record = |status| {
                    count(&counts, |counts| match status {
                        201 => counts.created += 1,
                        503 => counts.unavailable += 1,
                        _ => counts.other += 1,
                    });
                    if let Some(connected) = connected.take() {
                        connected.add_permits(1);
                    }
                };
                loop {
                    let sent = send_repeatedly(address, &request, &mut record).await;
                    if sent.is_err() {
                        count(&counts, |counts| counts.failed += 1);
                        tokio::time::sleep(RECONNECT).await;
                    }
                }
            });
        }
        Self {
            counts,
            connected,
            clients,
            _tasks: tasks,
        }
    }

    /// Waits until every client has had a response.
    pub(super) async fn connected(&self) {
        let _ = self.connected.acquire_many(self.clients).await;
    }

    /// Starts a measurement.
    pub(super) fn measure(&self) -> Measurement<'_> {
        Measurement {
            counts: &self.counts,
            before: self.counts.get(),
            start: Instant::now(),
        }
    }
}

fn count(counts: &Cell<Counts>, change: impl FnOnce(&mut Counts)) {
    let mut now = counts.get();
    change(&mut now);
    counts.set(now);
}

/// Sends requests on one connection until the server closes it.
async fn send_repeatedly(
    address: SocketAddr,
    request: &[u8],
    record: &mut impl FnMut(u16),
) -> io::Result<()> {
    let mut connection = Connection::open(address).await?;
    loop {
        let response = connection.send(request).await?;
        record(response.status);
        if response.closes {
            return Ok(());
        }
    }
}

/// Head of a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    closes: bool,
}

/// Connection of a client.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends a request and reads the response, whose body is discarded.
    pub(super) async fn send(&mut self, request: &[u8]) -> io::Result<Response> {
        let mut rest = request;
        while !rest.is_empty() {
            match self.stream.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        loop {
            if let Some((response, length)) = parse(&self.buffer)?
                && self.buffer.len() >= length
            {
                return Ok(response);
            }
            self.stream.readable().await?;
            let mut bytes = [0; 4096];
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.buffer.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the body of the latest response.
    pub(super) fn body(&self) -> &[u8] {
        head_length(&self.buffer).map_or(&[], |at| &self.buffer[at..])
    }
}

fn head_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Parses the head of a response. Returns it with the length of the whole response, or `None` if it
/// is incomplete.
fn parse(bytes: &[u8]) -> io::Result<Option<(Response, usize)>> {
    let Some(head_length) = head_length(bytes) else {
        return Ok(None);
    };
    let invalid = || io::Error::new(ErrorKind::InvalidData, "not a response of the server");
    let head = std::str::from_utf8(&bytes[..head_length]).map_err(|_| invalid())?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let (mut length, mut closes) = (0, false);
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(|_| invalid())?;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        }
    }
    let status = status.ok_or_else(invalid)?;
    Ok(Some((Response { status, closes }, head_length + length)))
}

/// Measurement of running clients.
pub(super) struct Measurement<'a> {
    counts: &'a Cell<Counts>,
    before: Counts,
    start: Instant,
}

impl Measurement<'_> {
    /// Returns the responses per second since the start.
    pub(super) fn rates(&self) -> Rates {
        let (now, before) = (self.counts.get(), self.before);
        Rates {
            counts: Counts {
                created: now.created - before.created,
                unavailable: now.unavailable - before.unavailable,
                other: now.other - before.other,
                failed: now.failed - before.failed,
            },
            seconds: self.start.elapsed().as_secs_f64(),
        }
    }
}

/// Responses per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    counts: Counts,
    seconds: f64,
}

impl Rates {
    pub(super) fn purchases(&self) -> f64 {
        self.counts.created as f64 / self.seconds
    }

    /// Responses with a status of 503.
    pub(super) fn refused(&self) -> f64 {
        self.counts.unavailable as f64 / self.seconds
    }

    /// Failed connections, and responses other than a purchase or a refusal.
    pub(super) fn failed(&self) -> f64 {
        (self.counts.failed + self.counts.other) as f64 / self.seconds
    }

    /// Number of purchases.
    pub(super) fn created(&self) -> u64 {
        self.counts.created
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_its_last_byte() {
        let response =
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nconnection: close\r\n\r\n{}";
        for length in 0..response.len() {
            let parsed = parse(&response[..length]).unwrap();
            assert!(parsed.is_none_or(|(_, whole)| whole > length));
        }
        let (head, length) = parse(response).unwrap().unwrap();
        assert_eq!((head.status, head.closes), (503, true));
        assert_eq!(length, response.len());
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }
}
