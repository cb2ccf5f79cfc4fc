//! I/O with scripted results: every sequence of operations is counted exactly.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_metrics::Prometheus;

use crate::measured::Metrics;

/// Result of one operation.
#[derive(Clone, Copy, Debug)]
enum Step {
    Bytes(usize),
    Pending,
    Error(io::ErrorKind),
}

/// I/O that returns the results of a script.
#[derive(Debug, Default)]
struct Script(VecDeque<Step>);

impl Script {
    fn next(&mut self) -> Poll<io::Result<usize>> {
        match self.0.pop_front().expect("one step for each operation") {
            Step::Bytes(bytes) => Poll::Ready(Ok(bytes)),
            Step::Pending => Poll::Pending,
            Step::Error(kind) => Poll::Ready(Err(kind.into())),
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.next()
            .map_ok(|bytes| buffer.put_slice(&vec![0; bytes]))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.next()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.next()
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.next().map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.next().map_ok(|_| ())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Read,
    Write,
    WriteVectored,
    Flush,
    ShutDown,
}

/// Expected values of the metrics.
#[derive(Debug, Default)]
struct Model {
    received: usize,
    transmitted: usize,
    failure: Option<&'static str>,
    is_orderly: bool,
    read_waits: bool,
    write_waits: bool,
}

impl Model {
    fn step(&mut self, operation: Operation, step: Step) {
        let is_read = operation == Operation::Read;
        let is_write = matches!(operation, Operation::Write | Operation::WriteVectored);
        let waits = matches!(step, Step::Pending);
        match operation {
            Operation::Read => self.read_waits = waits,
            Operation::ShutDown => {}
            _ => self.write_waits = waits,
        }
        match step {
            Step::Bytes(0) if is_read => self.is_orderly = true,
            Step::Bytes(bytes) if is_read => self.received += bytes,
            Step::Bytes(bytes) if is_write => self.transmitted += bytes,
            Step::Bytes(_) if operation == Operation::ShutDown => self.is_orderly = true,
            Step::Error(kind) => {
                let error_type = match kind {
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset",
                    io::ErrorKind::TimedOut => "timeout",
                    io::ErrorKind::NotConnected if operation == Operation::ShutDown => {
                        self.is_orderly = true;
                        return;
                    }
                    _ => "io_error",
                };
                self.failure.get_or_insert(error_type);
            }
            Step::Bytes(_) | Step::Pending => {}
        }
    }

    fn error_type(&self) -> &'static str {
        let waits = self.read_waits || self.write_waits;
        let aborted = waits && !self.is_orderly;
        self.failure.unwrap_or(if aborted { "aborted" } else { "" })
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => Just(Operation::Read),
        3 => Just(Operation::Write),
        2 => Just(Operation::WriteVectored),
        1 => Just(Operation::Flush),
        1 => Just(Operation::ShutDown),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::TimedOut,
        io::ErrorKind::NotConnected,
        io::ErrorKind::InvalidData,
    ];
    prop_oneof![
        12 => (0..100_usize).prop_map(Step::Bytes),
        6 => Just(Step::Pending),
        1 => proptest::sample::select(kinds.to_vec()).prop_map(Step::Error),
    ]
}

proptest! {
    #[test]
    fn every_sequence_of_operations_is_counted_exactly(
        script in vec((operation(), step()), 0..20),
    ) {
        let prometheus = Prometheus::new();
        let connections = prometheus.connections().build().unwrap();
        let steps = Script(script.iter().map(|(_, step)| *step).collect());
        let mut io = connections.wrap(steps).unwrap();
        prop_assert!(io.is_write_vectored());
        let mut cx = Context::from_waker(Waker::noop());
        let mut model = Model::default();
        let buffer = [0; 100];
        for (operation, step) in script {
            model.step(operation, step);
            let io = Pin::new(&mut io);
            match operation {
                Operation::Read => {
                    // A buffer with contents, of which only the rest is read.
                    let mut whole = [0; 107];
                    let mut buffer = ReadBuf::new(&mut whole);
                    buffer.put_slice(b"present");
                    _ = io.poll_read(&mut cx, &mut buffer);
                }
                Operation::Write => _ = io.poll_write(&mut cx, &buffer),
                Operation::WriteVectored => {
                    _ = io.poll_write_vectored(&mut cx, &[IoSlice::new(&buffer)]);
                }
                Operation::Flush => _ = io.poll_flush(&mut cx),
                Operation::ShutDown => _ = io.poll_shutdown(&mut cx),
            }
        }
        prop_assert_eq!(Metrics::of(&prometheus).open(), 1.0);
        drop(io);
        let metrics = Metrics::of(&prometheus);
        prop_assert_eq!(metrics.bytes(), (model.received as f64, model.transmitted as f64));
        prop_assert_eq!((metrics.open(), metrics.ended()), (0.0, 1.0));
        prop_assert_eq!(metrics.ended_with(model.error_type()), 1.0);
    }
}

#[test]
fn a_read_into_a_full_buffer_is_not_the_end_of_the_input() {
    let prometheus = Prometheus::new();
    let connections = prometheus.connections().build().unwrap();
    let script = Script([Step::Pending, Step::Bytes(0), Step::Pending].into());
    let mut io = connections.wrap(script).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut room = [0; 1];
    _ = Pin::new(&mut io).poll_read(&mut cx, &mut ReadBuf::new(&mut room));
    _ = Pin::new(&mut io).poll_read(&mut cx, &mut ReadBuf::new(&mut []));
    _ = Pin::new(&mut io).poll_read(&mut cx, &mut ReadBuf::new(&mut room));
    drop(io);
    assert_eq!(Metrics::of(&prometheus).ended_with("aborted"), 1.0);
}
