//! Classification of errors that the inner service returns.

use crate::error_type::ErrorType;

/// Maps an error of the inner service to an [`ErrorType`].
///
/// Implemented by every `Fn(&E) -> ErrorType`, which
/// [`MetricsLayerBuilder::classify_error`](crate::MetricsLayerBuilder::classify_error)
/// accepts, and by [`ServiceError`]. The trait is sealed.
pub trait ClassifyError<E>: sealed::Sealed<E> {
    /// Returns the type of an error.
    fn classify(&self, error: &E) -> ErrorType;
}

mod sealed {
    use crate::error_type::ErrorType;

    impl<E, F: Fn(&E) -> ErrorType> Sealed<E> for F {}
    impl<E> Sealed<E> for super::ServiceError {}

    pub trait Sealed<E> {}
}

impl<E, F: Fn(&E) -> ErrorType> ClassifyError<E> for F {
    fn classify(&self, error: &E) -> ErrorType {
        self(error)
    }
}

/// Default classifier, which maps every error to [`ErrorType::SERVICE_ERROR`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceError;

impl<E> ClassifyError<E> for ServiceError {
    fn classify(&self, _: &E) -> ErrorType {
        ErrorType::SERVICE_ERROR
    }
}
