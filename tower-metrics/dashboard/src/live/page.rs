//! The built page.

use std::fmt;

use axum::Router;
use tokio::runtime::Handle;

use super::feed::FeedParts;
use super::router::{self, RouterParts};

/// Live page of a [`Dashboard`](crate::Dashboard), built by [`LivePage::builder`].
///
/// # Memory
/// The page keeps 8 bytes per second of [history](super::LivePageBuilder::history) for
/// each line of a chart, of which a panel has at most 40, and for each bucket of a
/// heatmap. With the default of 15 minutes that is 7 kB per line.
///
/// Of each series that the dashboard selects, it keeps the labels and 8 bytes for
/// every value in every snapshot that an expression looks back on: one value for a
/// count and one per bucket for a quantile or a heatmap, and one snapshot per second
/// of the [window](super::LivePageBuilder::window) of rates and 90 of the history for an
/// increase. A series of a counter takes about 1 kB. A series of a duration histogram
/// with 15 bounds and five labels takes 2.2 kB under the overview of
/// [`Red`](crate::Red), and 3.5 kB with two objectives.
///
/// Each open page takes one connection while its tab is visible.
#[must_use = "a page has no effect until its router is served"]
pub struct LivePage {
    pub(super) runtime: Handle,
    pub(super) feed: FeedParts,
    pub(super) router: RouterParts,
}

impl LivePage {
    /// Starts sampling and returns the routes of the page.
    ///
    /// Serve them with [`Router::nest_service`], which accepts the path with and
    /// without a trailing slash, or with [`Router::merge`] at the root.
    /// [`Router::nest`] accepts the path without a trailing slash only. Sampling
    /// stops when the router and all its clones are dropped.
    pub fn into_router(self) -> Router {
        router::router(self.feed, self.router, &self.runtime)
    }
}

impl fmt::Debug for LivePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LivePage")
            .field("title", &self.router.title)
            .finish_non_exhaustive()
    }
}
