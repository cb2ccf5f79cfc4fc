//! Renderings, shared by concurrent scrapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::contents::Contents;
use super::negotiate::Encoding;
use super::output::Output;
use super::protobuf::EncodedSeries;
use super::query::NameFilter;
use super::{Format, protobuf, write};
use crate::prometheus::snapshot::Snapshot;
use crate::prometheus::{Inner, collector};

/// Everything in a registry at one time, in one syntax.
#[derive(Debug, Default)]
pub(super) struct Rendering {
    pub(super) content: Bytes,
    /// `true` if all names are written without escaping.
    pub(super) names_fit: bool,
    #[cfg(feature = "gzip")]
    gzip: std::sync::OnceLock<Bytes>,
}

impl Rendering {
    fn new(content: Bytes, names_fit: bool) -> Self {
        Self {
            content,
            names_fit,
            #[cfg(feature = "gzip")]
            gzip: std::sync::OnceLock::new(),
        }
    }

    /// Returns the content in this encoding. The first scrape that asks for gzip
    /// compresses the content for all that share the rendering.
    pub(super) fn encoded(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Identity => &self.content,
            #[cfg(feature = "gzip")]
            Encoding::Gzip => self.gzip.get_or_init(|| super::gzip::gzip(&self.content)),
        }
    }
}

/// Syntax in which metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Text(Format),
    Protobuf,
}

/// Readings and encoded series that the next rendering reuses.
#[derive(Debug, Default)]
struct Memory {
    snapshot: Snapshot,
    /// Empty unless the syntax is protobuf.
    series: EncodedSeries,
}

/// The renderer of each syntax.
#[derive(Debug, Default)]
pub(crate) struct Renderers {
    text: Renderer,
    open_metrics: Renderer,
    protobuf: Renderer,
    /// Memory of scrapes that ask for some families only, which are not shared.
    selected: Mutex<Memory>,
}

impl Renderers {
    /// Renders everything.
    pub(super) fn render(&self, inner: &'static Inner, syntax: Syntax) -> Arc<Rendering> {
        let renderer = match syntax {
            Syntax::Text(Format::Text) => &self.text,
            Syntax::Text(Format::OpenMetrics) => &self.open_metrics,
            Syntax::Protobuf => &self.protobuf,
        };
        renderer.render(inner, syntax)
    }

    /// Renders the families that the filter selects.
    pub(super) fn render_selected(
        &self,
        inner: &'static Inner,
        syntax: Syntax,
        filter: &NameFilter,
    ) -> Arc<Rendering> {
        let mut memory = self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        let output = Output::default();
        Arc::new(render(inner, syntax, output, &mut memory, Some(filter)))
    }
}

fn render(
    inner: &'static Inner,
    syntax: Syntax,
    mut output: Output,
    memory: &mut Memory,
    filter: Option<&NameFilter>,
) -> Rendering {
    let gathered = collector::gather_others(inner);
    let Memory { snapshot, series } = memory;
    let contents = Contents::new(inner, snapshot, &gathered, filter);
    match syntax {
        Syntax::Text(format) => write::write_text(&mut output, &contents, format),
        Syntax::Protobuf => protobuf::write_protobuf(&mut output, &contents, series),
    }
    Rendering::new(output.finish(), contents.has_legacy_names())
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
    memory: Memory,
}

impl Renderer {
    /// Returns a rendering that began after this call did.
    fn render(&self, inner: &'static Inner, syntax: Syntax) -> Arc<Rendering> {
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
        let output = Output::reusing(spare.content);
        let rendering = render(inner, syntax, output, &mut last.memory, None);
        last.rendering = Arc::new(rendering);
        last.number = number;
        Arc::clone(&last.rendering)
    }
}
