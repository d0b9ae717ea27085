//! Lists, as a table for people and as objects for programs.

use comfy_table::{CellAlignment, Table, TableComponent, presets};
use serde_json::Value;

use super::Paint;

/// Rows that a person reads, and the objects behind them.
#[derive(Clone, Debug)]
pub struct Listing {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    objects: Vec<Value>,
    when_empty: String,
}

#[derive(Clone, Debug)]
struct Column {
    title: String,
    number: bool,
}

impl Listing {
    /// Columns by title; one that begins with `#` holds numbers and is aligned to the right.
    pub fn new(columns: &[&str]) -> Self {
        let column = |title: &&str| Column {
            title: title.trim_start_matches('#').to_uppercase(),
            number: title.starts_with('#'),
        };
        Self {
            columns: columns.iter().map(column).collect(),
            rows: Vec::new(),
            objects: Vec::new(),
            when_empty: String::new(),
        }
    }

    /// What a person reads instead of an empty table.
    #[must_use]
    pub fn when_empty(mut self, text: &str) -> Self {
        text.clone_into(&mut self.when_empty);
        self
    }

    pub fn add(&mut self, object: Value, row: impl IntoIterator<Item = String>) {
        self.objects.push(object);
        self.rows.push(row.into_iter().collect());
    }

    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    pub fn table(&self, paint: Paint) -> String {
        if self.rows.is_empty() && !self.when_empty.is_empty() {
            return format!("{}\n", self.when_empty);
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_style(TableComponent::VerticalLines, ' ');
        table.set_header(self.columns.iter().map(|column| &column.title));
        for row in &self.rows {
            table.add_row(row);
        }
        for (index, column) in self.columns.iter().enumerate() {
            if let Some(shown) = table.column_mut(index) {
                shown.set_padding((0, 1));
                if column.number {
                    shown.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let mut text = String::new();
        for (index, line) in table.lines().enumerate() {
            let line = line.trim_end();
            let line = if index == 0 { paint.strong(line) } else { line.to_owned() };
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_stand_left_and_numbers_right() {
        let mut listing = Listing::new(&["stream", "#events"]);
        listing.add(json!({}), ["orders".into(), "1,234".into()]);
        listing.add(json!({}), ["a".into(), "7".into()]);
        let table = listing.table(Paint::when(false));
        assert_eq!(table, "STREAM  EVENTS\norders   1,234\na            7\n");
    }
}
