//! What people read: a chart file an axis, and tables for the page of docs, between marks that name their axis.

use std::fs;
use std::path::{Path, PathBuf};

use super::axis::Axis;
use super::chart;
use super::fit::power_law;
use super::record::{Point, Record};
use crate::Result;
use crate::output::{number, whole};

/// Draws every axis that has figures into `growth/AXIS.svg`.
pub fn draw(record: &Record, results: &Path) -> Result<Vec<PathBuf>> {
    let dir = results.join("growth");
    fs::create_dir_all(&dir)?;
    let mut written = Vec::new();
    for axis in Axis::all() {
        if let Some(svg) = chart::svg(*axis, &record.points(*axis)) {
            let path = dir.join(format!("{}.svg", axis.name()));
            fs::write(&path, svg)?;
            written.push(path);
        }
    }
    Ok(written)
}

/// All tables, each below the name of its axis.
pub fn tables(record: &Record) -> String {
    let text = |axis: &Axis| format!("{}\n\n{}", axis.name(), table(*axis, &record.points(*axis)));
    Axis::all().iter().map(text).collect::<Vec<_>>().join("\n\n")
}

/// Puts the tables where the page has marks for them.
pub fn renew(record: &Record, page: &Path) -> Result<()> {
    let text = fs::read_to_string(page)?;
    Ok(fs::write(page, renewed(record, &text)?)?)
}

fn renewed(record: &Record, page: &str) -> Result<String> {
    let mut text = page.to_owned();
    for axis in Axis::all() {
        let (begin, end) = (format!("<!-- {} -->\n", axis.name()), format!("<!-- end of {} -->", axis.name()));
        let from = text.find(&begin).ok_or_else(|| format!("the page has no `{}`", begin.trim()))? + begin.len();
        let length = text[from..].find(&end).ok_or_else(|| format!("the page has no `{end}`"))?;
        text.replace_range(from..from + length, &format!("{}\n", table(*axis, &record.points(*axis))));
    }
    Ok(text)
}

/// In Markdown; the last line has the exponents.
fn table(axis: Axis, points: &[Point]) -> String {
    let about = axis.about();
    let head = about.figures.iter().map(|figure| format!("{}, {}", figure.what, figure.unit));
    let head: Vec<String> = std::iter::once(about.of.to_owned()).chain(head).collect();
    let mut lines = vec![row(&head), format!("|{}", "---|".repeat(head.len()))];
    for size in about.sizes {
        let point = points.iter().find(|point| point.size == *size);
        let cells = about.figures.iter().map(|figure| match point {
            None => "not measured yet".to_owned(),
            Some(Point { failure: Some(why), .. }) => format!("failed: {why}"),
            Some(point) => point.figure(figure.name).map_or("–".to_owned(), number),
        });
        lines.push(row(&std::iter::once(whole(*size)).chain(cells).collect::<Vec<_>>()));
    }
    let exponents = about.figures.iter().map(|figure| {
        let fit = power_law(&chart::curve(figure, points));
        fit.map_or("–".to_owned(), |fit| format!("**{}** (R² {:.2})", fit.text(), fit.r_squared))
    });
    lines.push(row(&std::iter::once("*exponent*".to_owned()).chain(exponents).collect::<Vec<_>>()));
    lines.join("\n")
}

fn row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    #[test]
    fn a_table_has_every_size_what_failed_and_the_exponents() {
        let point = |size, value| Point {
            size,
            figures: vec![("published".into(), value), ("end_to_end".into(), value)],
            failure: None,
        };
        let failed = Point { size: 3, figures: Vec::new(), failure: Some("lost one".into()) };
        let text = table(Axis::Brokers, &[point(1, 100.0), point(2, 200.0), failed]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "| 1 | 100 | 100 |");
        assert_eq!(lines[4], "| 3 | failed: lost one | failed: lost one |");
        assert_eq!(lines[5], "| 4 | not measured yet | not measured yet |");
        assert_eq!(lines[6], "| *exponent* | **1.00** (R² 1.00) | **1.00** (R² 1.00) |");
    }

    #[test]
    fn the_page_and_its_charts_say_what_the_raw_results_say() {
        let record = Record::open(&committed("bench/results/growth.csv")).unwrap();
        let page = fs::read_to_string(committed("docs/growth.md")).unwrap();
        assert_eq!(renewed(&record, &page).unwrap(), page, "run `make growth-page`");
        for axis in Axis::all() {
            let path = committed(&format!("bench/results/growth/{}.svg", axis.name()));
            let drawn = chart::svg(*axis, &record.points(*axis));
            assert_eq!(fs::read_to_string(path).ok(), drawn, "{}: run `make growth-page`", axis.name());
        }
    }
}
