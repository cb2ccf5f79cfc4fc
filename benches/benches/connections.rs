//! Time and allocations that the measurement of connections adds to a read, to a write
//! and to a connection.
//!
//! Run with `cargo bench -p benches --bench connections`.
//!
//! The I/O is in memory and does nothing, so that the difference to it is the cost of the
//! measurement. A system call for a read or a write takes several hundred nanoseconds.

use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use harness::alloc::Counting;
use harness::comparison::{Candidate, Measurement, compare};
use harness::extent;
use harness::table;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_metrics::connections::ConnectionRecorder;
use tower_metrics::{Connections, OpenTelemetry, Prometheus};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes of a read and a write.
const BYTES: usize = 512;

fn main() {
    let rounds = if extent::is_test() { 2 } else { 500 };
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let meter = opentelemetry::metrics::MeterProvider::meter(&provider, "benchmark");
    let prometheus = build(Prometheus::new());
    let open_telemetry = build(OpenTelemetry::new(&meter));

    println!(
        "\nMedians of {rounds} interleaved rounds. `added` is the difference from the first row."
    );
    for (title, operation) in [
        ("Nanoseconds per read", Operation::Read),
        ("Nanoseconds per write", Operation::Write),
    ] {
        let mut candidates = [
            candidate("no measurement", operation, Ready),
            candidate("shared atomic counters", operation, Atomic::default()),
            candidate("tower-metrics", operation, wrap(&prometheus, Ready)),
            candidate(
                "tower-metrics, OpenTelemetry",
                operation,
                wrap(&open_telemetry, Ready),
            ),
        ];
        print(title, &compare(&mut candidates, rounds, 2000));
    }

    let mut candidates = [
        Candidate::new("no measurement", || _ = black_box(Ready)),
        Candidate::new("tower-metrics", move || {
            drop(black_box(wrap(&prometheus, Ready)));
        }),
        Candidate::new("tower-metrics, OpenTelemetry", move || {
            drop(black_box(wrap(&open_telemetry, Ready)));
        }),
    ];
    let title = "Nanoseconds per connection, opened and closed";
    print(title, &compare(&mut candidates, rounds, 500));
}

fn build<R: ConnectionRecorder>(recorder: R) -> Connections<R> {
    let connections = Connections::builder(recorder).build();
    connections.expect("the recorder has no other metrics")
}

fn wrap<R: ConnectionRecorder>(connections: &Connections<R>, io: Ready) -> impl Io + use<R> {
    connections.wrap(io).expect("there is no limit")
}

trait Io: AsyncRead + AsyncWrite + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Io for T {}

#[derive(Clone, Copy)]
enum Operation {
    Read,
    Write,
}

fn candidate(name: &'static str, operation: Operation, mut io: impl Io) -> Candidate {
    let mut cx = Context::from_waker(Waker::noop());
    let mut memory = [0; BYTES];
    match operation {
        Operation::Read => Candidate::new(name, move || {
            let mut buffer = ReadBuf::new(&mut memory);
            let io = Pin::new(black_box(&mut io));
            assert!(io.poll_read(&mut cx, &mut buffer).is_ready());
        }),
        Operation::Write => Candidate::new(name, move || {
            let io = Pin::new(black_box(&mut io));
            assert!(io.poll_write(&mut cx, &memory).is_ready());
        }),
    }
}

fn print(title: &str, measured: &[Measurement]) {
    let rows: Vec<_> = measured
        .iter()
        .map(|one| {
            vec![
                one.name.to_owned(),
                format!("{:.1}", one.median()),
                format!("{:.1}", one.added_to(&measured[0])),
                format!("{:.2}", one.allocations),
            ]
        })
        .collect();
    table::print(title, &["", "ns", "added", "allocations"], &rows);
}

/// I/O that is always ready.
struct Ready;

impl AsyncRead for Ready {
    #[inline(never)]
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.initialize_unfilled();
        buffer.set_filled(BYTES);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ready {
    #[inline(never)]
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(black_box(bytes).len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// I/O with counters that all threads share: what most servers write by hand. Without
/// contention, its locked instruction is at its cheapest.
#[derive(Default)]
struct Atomic {
    received: Arc<AtomicU64>,
    transmitted: Arc<AtomicU64>,
}

impl AsyncRead for Atomic {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut Ready).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Atomic {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut Ready).poll_write(cx, bytes);
        if let Poll::Ready(Ok(bytes)) = result {
            self.transmitted.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
