//! Switches on the page.

use std::fmt;

type Current = Box<dyn Fn() -> String + Send + Sync>;
type Set = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// A switch on the page: one of several values is in force, and pressing another puts that in
/// force. What the values do is yours.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicBool, Ordering::Relaxed}};
/// use tower_metrics_dashboard::live::Control;
///
/// let cache = Arc::new(AtomicBool::new(true));
/// let seen = cache.clone();
/// let control = Control::new(
///     "Cache",
///     move || if seen.load(Relaxed) { "on" } else { "off" }.into(),
///     move |value| Ok(cache.store(value == "on", Relaxed)),
/// )
/// .choice("on", "Answers come from memory where they can.")
/// .choice("off", "Every answer is read anew.");
/// ```
pub struct Control {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) help: String,
    pub(super) choices: Vec<Choice>,
    pub(super) rest: Option<String>,
    pub(super) beside: Option<String>,
    pub(super) marked: bool,
    current: Current,
    set: Set,
}

/// A value that a control offers.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Choice {
    pub(super) value: String,
    title: String,
    help: String,
}

impl Control {
    /// A switch. `current` says which value is in force: it is asked every second, so that a change
    /// made elsewhere shows too, and must be quick; a value that is no choice is shown as a text.
    /// `set` puts another in force: only values that are choices reach it, and its error is shown
    /// to whoever pressed.
    pub fn new(
        title: impl Into<String>,
        current: impl Fn() -> String + Send + Sync + 'static,
        set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let title = title.into();
        Self {
            id: super::page::slug(&title),
            title,
            help: String::new(),
            choices: Vec::new(),
            rest: None,
            beside: None,
            marked: false,
            current: Box::new(current),
            set: Box::new(set),
        }
    }

    /// With the sentence that says what it does.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// With a value more, and the sentence that says what it means.
    #[must_use]
    pub fn choice(mut self, value: impl Into<String>, help: impl Into<String>) -> Self {
        let value = value.into();
        self.choices.push(Choice {
            title: value.clone(),
            value,
            help: help.into(),
        });
        self
    }

    /// The value of rest: pressing a value that is in force returns to it, and a change to another
    /// one is tinted on the charts for as long as it lasts (with [`marked`](Self::marked)).
    #[must_use]
    pub fn rest(mut self, value: impl Into<String>) -> Self {
        self.rest = Some(value.into());
        self
    }

    /// Shows the latest figure of the first panel with this title beside the switch.
    #[must_use]
    pub fn beside(mut self, panel: impl Into<String>) -> Self {
        self.beside = Some(panel.into());
        self
    }

    /// Marks each change on every chart.
    #[must_use]
    pub fn marked(mut self) -> Self {
        self.marked = true;
        self
    }

    pub(super) fn current(&self) -> String {
        (self.current)()
    }

    /// Puts `value` in force.
    pub(super) fn set(&self, value: &str) -> Result<(), Refused> {
        if !self.choices.iter().any(|choice| choice.value == value) {
            let known: Vec<&str> = self.choices.iter().map(|c| c.value.as_str()).collect();
            return Err(Refused::Unknown(format!(
                "{value:?} is not a choice of {}: {}",
                self.id,
                known.join(", ")
            )));
        }
        (self.set)(value).map_err(Refused::Failed)
    }
}

/// Why a change was not made.
#[derive(Debug, PartialEq)]
pub(super) enum Refused {
    Unknown(String),
    Failed(String),
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("id", &self.id)
            .field("choices", &self.choices)
            .finish_non_exhaustive()
    }
}
