//! Text whose memory is used again.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Small enough to stay in the first-level cache while it is written.
const BLOCK: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Output {
    block: Vec<u8>,
    text: BytesMut,
}

impl Output {
    /// Takes the memory of what was written before: fresh memory costs more
    /// than what is written into it.
    pub(super) fn reusing(spare: Bytes) -> Self {
        // A slow reader of the last scrape may still have some.
        let mut text = spare.try_into_mut().unwrap_or_default();
        text.clear();
        Self {
            block: Vec::with_capacity(2 * BLOCK),
            text,
        }
    }

    /// Where to write the next lines; [`written`](Self::written) after
    /// each few.
    pub(super) fn block(&mut self) -> &mut Vec<u8> {
        &mut self.block
    }

    pub(super) fn written(&mut self) {
        if self.block.len() >= BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.text.extend_from_slice(&self.block);
        self.block.clear();
    }

    pub(super) fn finish(mut self) -> Bytes {
        self.flush();
        self.text.freeze()
    }
}

/// Compressed. Fast rather than small: a scrape is read once.
pub(super) fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a `Vec` cannot fail.
    let _ = encoder.write_all(text);
    encoder.finish().map(Bytes::from).unwrap_or_default()
}
