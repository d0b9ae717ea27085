//! How far groups are behind, for `/metrics`.
//!
//! These lines are written here and not by the recorder, which keeps every label that it ever saw: a group that has no members at
//! this broker any more has no line.

use crate::domain::reports::GroupLag;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// What is shown. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LagBoard(Arc<Mutex<Vec<GroupLag>>>);

impl LagBoard {
    /// Shows these groups and no others.
    pub fn show(&self, lags: Vec<GroupLag>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lags;
    }

    /// Prometheus' text format.
    pub fn render(&self) -> String {
        let lags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        gauge(&mut text, "eventflow_group_lag_events", "Events behind, by group.", &lags, |lag| lag.events.to_string());
        gauge(&mut text, "eventflow_group_lag_seconds", "Seconds behind, by group.", &lags, |lag| {
            format!("{:.3}", lag.seconds)
        });
        text
    }
}

fn gauge(text: &mut String, name: &str, meaning: &str, lags: &[GroupLag], value: fn(&GroupLag) -> String) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {meaning}\n# TYPE {name} gauge");
    for lag in lags {
        let [organization, stream, group] = [&lag.organization, &lag.stream, &lag.group].map(|label| escaped(label));
        let labels = format!("organization=\"{organization}\",stream=\"{stream}\",group=\"{group}\"");
        let _ = writeln!(text, "{name}{{{labels}}} {}", value(lag));
    }
}

pub(super) fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_a_line_as_long_as_it_is_shown() {
        let board = LagBoard::default();
        let lag = GroupLag {
            organization: "a \"b\"".into(),
            stream: "orders".into(),
            group: "billing".into(),
            events: 7,
            seconds: 1.5,
        };
        board.show(vec![lag]);
        let labels = "{organization=\"a \\\"b\\\"\",stream=\"orders\",group=\"billing\"}";
        let text = board.render();
        assert!(text.contains(&format!("\neventflow_group_lag_events{labels} 7\n")), "{text}");
        assert!(text.contains(&format!("\neventflow_group_lag_seconds{labels} 1.500\n")), "{text}");
        board.show(Vec::new());
        assert!(!board.render().contains("billing"));
    }
}
