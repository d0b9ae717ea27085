//! Groups with alerts that fire, for `/metrics`.
//!
//! As with the lag of groups, these lines are written here and not by the recorder: a group of which nothing fires has no line.

use super::lag::escaped;
use crate::domain::reports::FiringAlerts;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// What is shown. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct AlertBoard(Arc<Mutex<Vec<FiringAlerts>>>);

impl AlertBoard {
    /// Shows these groups and no others.
    pub fn show(&self, firing: Vec<FiringAlerts>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = firing;
    }

    /// Prometheus' text format.
    pub fn render(&self) -> String {
        let firing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text =
            "# HELP eventflow_firing_alerts Alerts that fire, by group.\n# TYPE eventflow_firing_alerts gauge\n"
                .to_owned();
        for group in firing.iter() {
            let [organization, stream, name] =
                [&group.organization, &group.stream, &group.group].map(|text| escaped(text));
            let labels = format!("organization=\"{organization}\",stream=\"{stream}\",group=\"{name}\"");
            // Writing to a string does not fail.
            let _ = writeln!(text, "eventflow_firing_alerts{{{labels}}} {}", group.alerts);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_line_while_an_alert_of_it_fires() {
        let board = AlertBoard::default();
        let (organization, stream, group) = ("a \"b\"".into(), "orders".into(), "billing".into());
        board.show(vec![FiringAlerts { organization, stream, group, alerts: 2 }]);
        let labels = "{organization=\"a \\\"b\\\"\",stream=\"orders\",group=\"billing\"}";
        assert!(board.render().contains(&format!("\neventflow_firing_alerts{labels} 2\n")), "{}", board.render());
        board.show(Vec::new());
        assert!(!board.render().contains("billing"));
    }
}
