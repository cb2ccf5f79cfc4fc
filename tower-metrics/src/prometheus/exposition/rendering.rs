//! Renderings, shared by concurrent scrapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::negotiate::Encoding;
use super::output::Output;
use super::{Format, write};
use crate::prometheus::Inner;
use crate::prometheus::snapshot::Snapshot;

/// Everything in a registry at one time, in one format.
#[derive(Debug, Default)]
pub(super) struct Rendering {
    pub(super) text: Bytes,
    #[cfg(feature = "gzip")]
    gzip: std::sync::OnceLock<Bytes>,
}

impl Rendering {
    fn new(text: Bytes) -> Self {
        Self {
            text,
            #[cfg(feature = "gzip")]
            gzip: std::sync::OnceLock::new(),
        }
    }

    /// Returns the text in this encoding. The first scrape that asks for gzip
    /// compresses the text for all that share the rendering.
    pub(super) fn encoded(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Identity => &self.text,
            #[cfg(feature = "gzip")]
            Encoding::Gzip => self.gzip.get_or_init(|| super::gzip::gzip(&self.text)),
        }
    }
}

/// The renderer of each format.
#[derive(Debug, Default)]
pub(crate) struct Renderers {
    text: Renderer,
    open_metrics: Renderer,
}

impl Renderers {
    pub(super) fn render(&self, inner: &'static Inner, format: Format) -> Arc<Rendering> {
        match format {
            Format::Text => self.text.render(inner, format),
            Format::OpenMetrics => self.open_metrics.render(inner, format),
        }
    }
}

#[derive(Debug, Default)]
struct Renderer {
    /// Number of renderings that have begun.
    begun: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    rendering: Arc<Rendering>,
    /// Its number among those that have begun; zero if there is none to share.
    number: u64,
    snapshot: Snapshot,
}

impl Renderer {
    /// Returns a rendering that began after this call did.
    fn render(&self, inner: &'static Inner, format: Format) -> Arc<Rendering> {
        // A read-modify-write operation reads the latest value in the
        // modification order. A load could miss a rendering that has begun, and
        // a client that counts a request and then scrapes would receive a
        // rendering from before that request.
        let begun_before = self.begun.fetch_add(0, Ordering::AcqRel);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.number > begun_before {
            return Arc::clone(&last.rendering);
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;

        let last = &mut *last;
        // If a collector panics, there is no rendering to share.
        last.number = 0;
        // Reuse the memory of the last rendering unless a response still holds it.
        let spare = Arc::try_unwrap(std::mem::take(&mut last.rendering)).unwrap_or_default();
        let mut output = Output::reusing(spare.text);
        write::write_registry(&mut output, inner, &mut last.snapshot, format);
        last.rendering = Arc::new(Rendering::new(output.finish()));
        last.number = number;
        Arc::clone(&last.rendering)
    }
}
