//! Controls: switches that change the service.

use std::fmt;

use super::hook;
use super::slug::slug;

type Current = Box<dyn Fn() -> String + Send + Sync>;
type Detail = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;
type Set = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// A switch with several positions, one of which is active.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicBool, Ordering::Relaxed}};
/// use tower_metrics_dashboard::live::Control;
///
/// let cache = Arc::new(AtomicBool::new(true));
/// let current = cache.clone();
/// let control = Control::new(
///     "Cache",
///     move || if current.load(Relaxed) { "on" } else { "off" }.into(),
///     move |value| Ok(cache.store(value == "on", Relaxed)),
/// )
/// .choice("on", "Serves responses from memory.")
/// .choice("off", "Reads every response from the database.");
/// ```
pub struct Control {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) choices: Vec<Choice>,
    pub(super) default: Option<String>,
    pub(super) panel: Option<String>,
    pub(super) annotated: bool,
    current: Current,
    detail: Option<Detail>,
    set: Set,
}

/// A position of a [`Control`].
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Choice {
    pub(super) value: String,
    title: String,
    description: String,
}

/// Current state of a [`Control`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) value: String,
    pub(super) detail: Option<String>,
}

impl Control {
    /// Creates a control without choices.
    ///
    /// `current` returns the active value. It is called every second, so that
    /// changes made elsewhere show as well, and must not block. A value that is not
    /// one of the choices is shown as text.
    ///
    /// `set` activates a value, which is always one of the choices. The page shows
    /// its error to the user.
    ///
    /// If either panics, the page shows the panic message and keeps running.
    pub fn new(
        title: impl Into<String>,
        current: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let title = title.into();
        Self {
            id: slug(&title),
            title,
            description: String::new(),
            choices: Vec::new(),
            default: None,
            panel: None,
            annotated: false,
            current: Box::new(current),
            detail: None,
            set: Box::new(set),
        }
    }

    /// Sets the description. Defaults to none.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Adds a value and its description.
    #[must_use]
    pub fn choice(mut self, value: impl Into<String>, description: impl Into<String>) -> Self {
        let value = value.into();
        self.choices.push(Choice {
            title: value.clone(),
            value,
            description: description.into(),
        });
        self
    }

    /// Sets the default value, to which pressing the active value returns.
    /// Defaults to none.
    #[must_use]
    pub fn default_value(mut self, value: impl Into<String>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Shows the latest value of the first panel with this title next to the
    /// control. Defaults to none.
    #[must_use]
    pub fn panel(mut self, title: impl Into<String>) -> Self {
        self.panel = Some(title.into());
        self
    }

    /// Sets whether every chart marks the changes of the value, and highlights
    /// the time during which it is not the [default](Self::default_value).
    /// Defaults to `false`.
    #[must_use]
    pub fn annotated(mut self, annotated: bool) -> Self {
        self.annotated = annotated;
        self
    }

    /// Sets a function that returns more about the active value, such as its
    /// progress, or `None`. Defaults to none.
    ///
    /// The page shows the text below the choices. Charts of an
    /// [annotated](Self::annotated) control mark the changes of the text, too.
    ///
    /// `detail` receives the active value. Like the other functions, it must not
    /// block.
    #[must_use]
    pub fn detail(
        mut self,
        detail: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// Returns the current value and its detail, or the panic message of the hook.
    pub(super) fn current(&self) -> Result<Reading, String> {
        hook::call(|| {
            let value = (self.current)();
            let detail = self.detail.as_ref().and_then(|detail| detail(&value));
            Reading { value, detail }
        })
    }

    /// Activates `value`.
    pub(super) fn set(&self, value: &str) -> Result<(), SetError> {
        if !self.choices.iter().any(|choice| choice.value == value) {
            let known: Vec<&str> = self.choices.iter().map(|c| c.value.as_str()).collect();
            return Err(SetError::Unknown(format!(
                "invalid value {value:?} of {}: must be one of {}",
                self.id,
                known.join(", ")
            )));
        }
        match hook::call(|| (self.set)(value)) {
            Ok(result) => result.map_err(SetError::Rejected),
            Err(panic) => Err(SetError::Panicked(panic)),
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.value)?;
        match &self.detail {
            Some(detail) => write!(f, " {detail}"),
            None => Ok(()),
        }
    }
}

/// Error of [`Control::set`].
#[derive(Debug, PartialEq)]
pub(super) enum SetError {
    /// The value is not one of the choices.
    Unknown(String),
    /// The hook returned an error.
    Rejected(String),
    /// The hook panicked.
    Panicked(String),
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("id", &self.id)
            .field("choices", &self.choices)
            .finish_non_exhaustive()
    }
}
