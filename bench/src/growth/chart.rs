//! An axis as a chart, as SVG: a panel for each unit, both scales logarithmic, the points and the power law beside them.

use std::fmt::Write;

use super::axis::{Axis, Figure};
use super::fit::{Fit, power_law};
use super::record::Point;
use crate::chart::COLORS;
use crate::output::whole;

const WIDTH: f64 = 760.0;
const PANEL: f64 = 190.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 44.0;
/// Above a panel, a line for its unit; below it, its sizes.
const HEAD: f64 = 20.0;
const FOOT: f64 = 30.0;
const LEGEND: f64 = 17.0;

/// The values of one figure, by size.
struct Series {
    what: &'static str,
    points: Vec<(f64, f64)>,
    fit: Option<Fit>,
}

/// The logarithms between which a scale lies, and where on the page.
struct Scale {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// From values that are positive; at least a decade, so that what is flat looks flat.
    fn around(values: impl Iterator<Item = f64>, decades: f64, from: f64, to: f64) -> Self {
        let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
            (least.min(value.log10()), most.max(value.log10()))
        });
        let missing = (decades - (most - least)).max(0.1) / 2.0;
        Self { least: least - missing, most: most + missing, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - self.least) / (self.most - self.least);
        self.from + part * (self.to - self.from)
    }

    /// 1, 2 and 5 times powers of ten; powers of ten only when it is long.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.most - self.least > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let decades = self.least.floor() as i32..=self.most.ceil() as i32;
        let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
        all.filter(|tick| (self.least..=self.most).contains(&tick.log10())).collect()
    }
}

/// None when there are no figures.
pub fn svg(axis: Axis, points: &[Point]) -> Option<String> {
    let about = axis.about();
    let panels: Vec<(&str, Vec<Series>)> = units(about.figures)
        .into_iter()
        .map(|unit| (unit, about.figures.iter().filter(move |figure| figure.unit == unit)))
        .map(|(unit, figures)| (unit, figures.map(|figure| series(figure, points)).collect::<Vec<_>>()))
        .filter(|(_, all)| all.iter().any(|series| !series.points.is_empty()))
        .collect();
    if panels.is_empty() {
        return None;
    }
    let sizes = panels.iter().flat_map(|(_, all)| all).flat_map(|series| &series.points).map(|(size, _)| *size);
    let x = Scale::around(sizes, 0.4, LEFT + 10.0, WIDTH - RIGHT - 10.0);
    let height_of = |all: &[Series]| HEAD + PANEL + FOOT + LEGEND * all.len() as f64;
    let height = TOP + panels.iter().map(|(_, all)| height_of(all)).sum::<f64>() + 6.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
        about.title
    );
    let mut top = TOP;
    for (unit, all) in &panels {
        draw(&mut out, unit, about.of, all, &x, top);
        top += height_of(all);
    }
    out.push_str("</svg>\n");
    Some(out)
}

/// Each once, in order.
fn units(figures: &[Figure]) -> Vec<&'static str> {
    let mut units: Vec<&'static str> = Vec::new();
    for figure in figures {
        if !units.contains(&figure.unit) {
            units.push(figure.unit);
        }
    }
    units
}

fn series(figure: &Figure, points: &[Point]) -> Series {
    let points = curve(figure, points);
    Series { what: figure.what, fit: power_law(&points), points }
}

/// What has a place on logarithmic scales.
pub fn curve(figure: &Figure, points: &[Point]) -> Vec<(f64, f64)> {
    let values = points.iter().filter_map(|point| Some((point.size as f64, point.figure(figure.name)?)));
    values.filter(|(size, value)| *size > 0.0 && *value > 0.0).collect()
}

fn draw(out: &mut String, unit: &str, of: &str, all: &[Series], x: &Scale, top: f64) {
    let (high, low) = (top + HEAD, top + HEAD + PANEL);
    let values = all.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
    let y = Scale::around(values, 1.0, low, high);
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#333\">{unit}</text>", high - 6.0);
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            tidy_number(tick)
        );
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{high:.1}\" y2=\"{low:.1}\" stroke=\"#eee\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" fill=\"#555\" text-anchor=\"middle\">{}</text>",
            low + 16.0,
            tidy_number(tick)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555\" text-anchor=\"end\">{of}</text>",
        WIDTH - RIGHT,
        low + 30.0
    );
    for (index, series) in all.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        draw_series(out, series, color, x, &y);
        let _ = writeln!(
            out,
            "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"{color}\">{}</text>",
            low + FOOT + LEGEND * (index as f64 + 0.6),
            legend(series)
        );
    }
}

fn draw_series(out: &mut String, series: &Series, color: &str, x: &Scale, y: &Scale) {
    let place = |(size, value): &(f64, f64)| (x.at(*size), y.at(*value));
    if let (Some(fit), Some(first), Some(last)) = (series.fit, series.points.first(), series.points.last()) {
        let clamped = |size: f64| y.at(fit.at(size)).clamp(y.to, y.from);
        let _ = writeln!(
            out,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{color}\" stroke-dasharray=\"5 4\"/>",
            x.at(first.0),
            x.at(last.0),
            clamped(first.0),
            clamped(last.0)
        );
    }
    let line: Vec<String> = series.points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        out,
        "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\" points=\"{}\"/>",
        line.join(" ")
    );
    for (x, y) in series.points.iter().map(place) {
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>");
    }
}

fn legend(series: &Series) -> String {
    match series.fit {
        Some(fit) => format!("{}: exponent {} (R² {:.2}, dashed)", series.what, fit.text(), fit.r_squared),
        None => format!("{}: no fit", series.what),
    }
}

/// A tick is a round number: it needs no digits behind it.
fn tidy_number(tick: f64) -> String {
    if tick >= 1.0 { whole(tick.round() as u64) } else { format!("{tick}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(law: impl Fn(f64) -> f64) -> Vec<Point> {
        let point = |size: u64| Point {
            size,
            figures: vec![("published".into(), law(size as f64)), ("end_to_end".into(), law(size as f64) / 2.0)],
            failure: None,
        };
        [1, 4, 16, 64].map(point).to_vec()
    }

    #[test]
    fn a_chart_has_points_a_line_and_the_exponent_of_each_figure() {
        let text = svg(Axis::Partitions, &points(|size| 1e6 * size.powf(-0.25))).unwrap();
        assert_eq!(text.matches("<circle").count(), 8);
        assert_eq!(text.matches("<polyline").count(), 2);
        assert_eq!(text.matches("exponent −0.25 (R² 1.00, dashed)").count(), 2);
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn what_was_not_measured_has_no_chart() {
        assert_eq!(svg(Axis::Streams, &[]), None);
        let failed = Point { size: 1, figures: Vec::new(), failure: Some("gone".into()) };
        assert_eq!(svg(Axis::Streams, &[failed]), None);
    }

    #[test]
    fn scales_have_round_ticks_and_space_around() {
        let scale = Scale::around([3.0, 300.0].into_iter(), 1.0, 0.0, 100.0);
        assert_eq!(scale.ticks(), [5.0, 10.0, 20.0, 50.0, 100.0, 200.0]);
        assert!(scale.at(3.0) > 0.0 && scale.at(300.0) < 100.0);
        let flat = Scale::around([500.0].into_iter(), 1.0, 0.0, 100.0);
        assert!((flat.at(500.0) - 50.0).abs() < 1e-9);
        assert_eq!(tidy_number(10.0), "10");
        assert_eq!(tidy_number(1_000.0), "1,000");
        assert_eq!(tidy_number(0.5), "0.5");
    }
}
