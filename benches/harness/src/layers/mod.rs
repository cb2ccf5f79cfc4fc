//! Layers written by hand, to compare with.

mod floor;
mod noop;
mod nothing;
mod vectors;

pub use self::floor::{Floor, FloorLayer};
pub use self::noop::{Noop, NoopBody, NoopBodyLayer, NoopLayer};
pub use self::nothing::Nothing;
pub(crate) use self::vectors::BOUNDS;
pub use self::vectors::{Vectors, VectorsLayer};
