//! Colours, when a terminal shows them and nobody has declined.

use std::fmt::Display;

use crate::environment;

/// Whether and how to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    colours: bool,
}

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Strong,
    Faint,
    Good,
    Bad,
    Warning,
    Name,
}

impl Paint {
    pub(super) fn when(terminal: bool) -> Self {
        Self { colours: terminal && !environment::wants_no_color() }
    }

    pub fn with(self, style: Style, text: impl Display) -> String {
        if !self.colours {
            return text.to_string();
        }
        let code = match style {
            Style::Strong => "1",
            Style::Faint => "2",
            Style::Good => "32",
            Style::Bad => "31",
            Style::Warning => "33",
            Style::Name => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    pub fn strong(self, text: impl Display) -> String {
        self.with(Style::Strong, text)
    }

    pub fn faint(self, text: impl Display) -> String {
        self.with(Style::Faint, text)
    }

    /// ✓ or ✗.
    pub fn mark(self, holds: bool) -> String {
        if holds { self.with(Style::Good, "✓") } else { self.with(Style::Bad, "✗") }
    }
}
