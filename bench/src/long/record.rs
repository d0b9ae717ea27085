//! What a long run writes down: a line a window, with the size of every table.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tokio_postgres::Client;

use crate::chart::{self, Panel, Series};
use crate::{Result, output};

/// Bytes of every table with TOAST and indexes, and dead rows where there are any. The segments of the log count as one.
pub async fn tables(sql: &Client) -> Result<BTreeMap<String, f64>> {
    let rows = sql
        .query(
            "select coalesce(p.relname, c.relname)::text, sum(pg_total_relation_size(c.oid))::float8,
                    sum(coalesce(s.n_dead_tup, 0))::float8
             from pg_class c
             left join pg_inherits i on i.inhrelid = c.oid
             left join pg_class p on p.oid = i.inhparent
             left join pg_stat_user_tables s on s.relid = c.oid
             where c.relnamespace = 'eventflow'::regnamespace and c.relkind = 'r' group by 1",
            &[],
        )
        .await?;
    let mut sizes = BTreeMap::new();
    for row in rows {
        let name: String = row.try_get(0)?;
        sizes.insert(format!("{name}_dead_rows"), row.try_get(2)?);
        sizes.insert(format!("{name}_bytes"), row.try_get(1)?);
    }
    Ok(sizes)
}

/// Lines of numbers by time.
#[derive(Default)]
pub struct Record {
    lines: Vec<(f64, BTreeMap<String, f64>)>,
}

impl Record {
    pub fn push(&mut self, second: f64, values: BTreeMap<String, f64>) {
        self.lines.push((second, values));
    }

    pub fn column(&self, name: &str) -> Vec<f64> {
        self.lines.iter().map(|(_, values)| values.get(name).copied().unwrap_or(0.0)).collect()
    }

    /// In MiB.
    pub fn mebibytes(&self, name: &str) -> Vec<f64> {
        self.column(name).into_iter().map(|bytes| bytes / 1_048_576.0).collect()
    }

    pub fn seconds(&self) -> Vec<f64> {
        self.lines.iter().map(|(second, _)| *second).collect()
    }

    pub fn series(&self, name: &str, values: Vec<f64>) -> Series {
        Series { name: name.to_owned(), values }
    }

    /// A line of names, then one a window; what never changes is left out.
    pub fn csv(&self) -> String {
        let mut names: Vec<&String> = self.lines.first().map(|(_, values)| values.keys().collect()).unwrap_or_default();
        names.retain(|name| {
            let column = self.column(name);
            column.iter().any(|value| *value != column[0])
        });
        let mut text = names.iter().fold("seconds".to_owned(), |line, name| format!("{line},{name}"));
        text.push('\n');
        for (second, values) in &self.lines {
            let cells = names.iter().map(|name| values.get(*name).copied().unwrap_or(0.0));
            let line = cells.fold(format!("{second:.0}"), |line, value| format!("{line},{}", cell(value)));
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// Writes `NAME.csv` and `NAME.svg`.
    pub fn write(&self, dir: &Path, name: &str, title: &str, panels: &[Panel], marks: &[(f64, &str)]) -> Result<()> {
        fs::create_dir_all(dir)?;
        let csv = dir.join(format!("{name}.csv"));
        fs::write(&csv, self.csv())?;
        let svg = dir.join(format!("{name}.svg"));
        fs::write(&svg, chart::svg(title, &self.seconds(), panels, marks))?;
        output::note(&format!("written: {} and {}", csv.display(), svg.display()));
        Ok(())
    }
}

fn cell(value: f64) -> String {
    if value == value.trunc() { format!("{value:.0}") } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_what_changes() {
        let mut record = Record::default();
        let line = |rate: f64| BTreeMap::from([("rate".to_owned(), rate), ("still".to_owned(), 7.0)]);
        record.push(10.0, line(1.5));
        record.push(20.0, line(2.0));
        assert_eq!(record.csv(), "seconds,rate\n10,1.500\n20,2\n");
    }
}
