//! Recognition of errors that reject a request.

use std::any::Any;
use std::error::Error;

use tower::load_shed::error::Overloaded;

/// Decides whether an error of the inner service rejects the request.
///
/// Implemented by every `Fn(&E) -> bool`, which
/// [`AdmissionLayer::rejected_if`](super::AdmissionLayer::rejected_if) accepts, and by
/// [`IsOverloaded`]. The trait is sealed.
pub trait IsRejection<E>: sealed::Sealed<E> {
    /// Returns whether the error rejects the request.
    fn is_rejection(&self, error: &E) -> bool;
}

mod sealed {
    pub trait Sealed<E> {}

    impl<E, F: Fn(&E) -> bool> Sealed<E> for F {}
    impl<E> Sealed<E> for super::IsOverloaded {}
}

impl<E, F: Fn(&E) -> bool> IsRejection<E> for F {
    fn is_rejection(&self, error: &E) -> bool {
        self(error)
    }
}

/// Default, which recognizes the error [`Overloaded`] of tower's `LoadShed`, also in a
/// [`tower::BoxError`].
#[derive(Clone, Copy, Debug, Default)]
pub struct IsOverloaded;

impl<E: 'static> IsRejection<E> for IsOverloaded {
    fn is_rejection(&self, error: &E) -> bool {
        let error: &dyn Any = error;
        match error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
            Some(error) => error.is::<Overloaded>(),
            None => error.is::<Overloaded>(),
        }
    }
}
