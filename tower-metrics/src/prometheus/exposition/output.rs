//! Text in chunks whose memory is used again.

use std::io::Write;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;

const CHUNK: usize = 1 << 20;
/// Small enough to stay in the first-level cache while it is written.
const BLOCK: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Output {
    block: Vec<u8>,
    current: BytesMut,
    done: Vec<Bytes>,
    spare: Vec<Bytes>,
}

impl Output {
    /// Takes the memory of what was written before.
    pub(super) fn reusing(mut spare: Vec<Bytes>) -> Self {
        // The list itself is used again as well.
        spare.reverse();
        let mut output = Self {
            block: Vec::with_capacity(2 * BLOCK),
            current: BytesMut::new(),
            done: Vec::with_capacity(spare.len() + 1),
            spare,
        };
        output.current = output.chunk();
        output
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
        if self.current.capacity() - self.current.len() < self.block.len() {
            let next = self.chunk();
            let full = std::mem::replace(&mut self.current, next);
            self.done.push(full.freeze());
        }
        self.current.extend_from_slice(&self.block);
        self.block.clear();
    }

    fn chunk(&mut self) -> BytesMut {
        while let Some(chunk) = self.spare.pop() {
            // A slow reader of the last scrape may still have some.
            if let Ok(mut chunk) = chunk.try_into_mut() {
                chunk.clear();
                return chunk;
            }
        }
        // The first chunk is mostly the only one: what it needs is known at
        // its end. Later ones are full size at once.
        BytesMut::with_capacity(if self.done.is_empty() {
            BLOCK * 4
        } else {
            CHUNK
        })
    }

    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.flush();
        if !self.current.is_empty() {
            self.done.push(self.current.freeze());
        }
        self.done
    }
}

/// The chunks compressed. Fast rather than small: a scrape is read once.
pub(super) fn gzip(chunks: &[Bytes]) -> Vec<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for chunk in chunks {
        // Writing to a `Vec` cannot fail.
        let _ = encoder.write_all(chunk);
    }
    encoder
        .finish()
        .map(|bytes| vec![Bytes::from(bytes)])
        .unwrap_or_default()
}
