//! Queue of log lines, written by a dedicated thread.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// Writer that never blocks: lines that do not fit into its queue, or are too long, are dropped and
/// counted.
///
/// Uses at most `max_lines * (max_line + 32)` bytes.
#[derive(Debug)]
pub(crate) struct LogWriter {
    queue: SyncSender<Message>,
    max_line: usize,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Box<[u8]>),
    /// Drops the sender after all lines before it have been written.
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts a thread that writes to `output`.
    ///
    /// Up to `max_lines` lines of at most `max_line` bytes wait to be written.
    ///
    /// # Errors
    /// Returns an error when the thread cannot be started.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        max_lines: usize,
        max_line: usize,
    ) -> io::Result<Self> {
        let (queue, messages) = sync_channel(max_lines);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&messages, output))?;
        Ok(Self {
            queue,
            max_line,
            dropped: AtomicU64::new(0),
        })
    }

    /// Returns the number of lines dropped since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until the lines logged so far have been written, at most for `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (done, flushed) = sync_channel(0);
        let queue = self.queue.clone();
        // In a thread: while the queue is full, sending to it blocks.
        let asking = thread::Builder::new().spawn(move || queue.send(Message::Flush(done)));
        if asking.is_ok() {
            // Disconnected when the lines have been written.
            _ = flushed.recv_timeout(timeout);
        }
    }
}

impl Write for &LogWriter {
    /// Queues one line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let queued = line.len() <= self.max_line
            && match self.queue.try_send(Message::Line(line.into())) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
            };
        if !queued {
            self.dropped.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    /// Does nothing: the thread flushes when its queue is empty.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines until all senders are dropped. Lines that the output does not take, such as a closed
/// pipe, are lost.
fn write_all(messages: &Receiver<Message>, mut output: impl Write) {
    while let Ok(first) = messages.recv() {
        for message in std::iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Line(line) => _ = output.write_all(&line),
                Message::Flush(done) => {
                    _ = output.flush();
                    drop(done);
                }
            }
        }
        _ = output.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier, Mutex};

    use super::*;

    /// Output that blocks until the barrier opens, once.
    struct Stalled {
        barrier: Option<Arc<Barrier>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stalled {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            if let Some(barrier) = self.barrier.take() {
                barrier.wait();
                barrier.wait();
            }
            self.written.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted_and_the_others_are_written_in_order() {
        let (barrier, written) = (Arc::new(Barrier::new(2)), Arc::<Mutex<_>>::default());
        let output = Stalled {
            barrier: Some(barrier.clone()),
            written: written.clone(),
        };
        let writer = LogWriter::start(output, 2, 4).unwrap();
        let log = |line: &[u8]| assert_eq!((&writer).write(line).unwrap(), line.len());
        log(b"one\n");
        // The thread writes this line.
        barrier.wait();
        log(b"long\n");
        assert_eq!(writer.dropped(), 1);
        log(b"two\n");
        log(b"3\n");
        log(b"4\n");
        assert_eq!(writer.dropped(), 2);
        // Must not wait for the output.
        writer.flush(Duration::ZERO);
        assert!(written.lock().unwrap().is_empty());
        barrier.wait();
        writer.flush(Duration::from_secs(60));
        assert_eq!(*written.lock().unwrap(), b"one\ntwo\n3\n");
        log(b"5\n");
        writer.flush(Duration::from_secs(60));
        assert_eq!(*written.lock().unwrap(), b"one\ntwo\n3\n5\n");
        assert_eq!(writer.dropped(), 2);
    }
}
