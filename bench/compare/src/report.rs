//! What people read: tables in Markdown, and bar charts in SVG.

use std::fmt::Write;

use crate::figures::{Against, BARS, FIGURES, Figure, Results};

const LEFT: f64 = 150.0;
const WIDTH: f64 = 760.0;
const ROW: f64 = 20.0;
const TITLE: f64 = 34.0;
const OURS: &str = "#1f6fb2";
const FLUSHED: &str = "#3f7d3a";
const UNFLUSHED: &str = "#b9a44c";

/// Three digits that matter, and commas.
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => {
            let unit = 10f64.powf(large.log10().floor() - 2.0);
            let digits = format!("{:.0}", (value / unit).round() * unit);
            let mut out = String::new();
            for (place, digit) in digits.chars().enumerate() {
                if place > 0 && (digits.len() - place).is_multiple_of(3) {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
        small if small >= 100.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Who ran, every figure, and the bars.
pub fn tables(results: &Results) -> String {
    let mut out = String::from("| peer | version | configuration | on disk before the ack |\n|---|---|---|---|\n");
    for (name, about) in &results.peers {
        let _ =
            writeln!(out, "| `{name}` | {} | {} | {} |", about.version, about.configuration, about.flushed_before_ack);
    }
    let _ = write!(out, "\nMedians of {} rounds, the least and the most in brackets.\n\n| figure |", results.rounds());
    for (name, _) in &results.peers {
        let _ = write!(out, " {name} |");
    }
    let _ = writeln!(out, "\n|---|{}", "---|".repeat(results.peers.len()));
    for figure in &FIGURES {
        let _ = write!(out, "| {} |", figure.title);
        for (name, _) in &results.peers {
            let _ = match results.spread(name, figure.name) {
                Some(s) => write!(out, " **{}** ({} to {}) |", number(s.median), number(s.least), number(s.most)),
                None => write!(out, " – |"),
            };
        }
        out.push('\n');
    }
    out.push_str("\n| figure | against | times | bar | met |\n|---|---|---|---|---|\n");
    for bar in &BARS {
        let Some((ratio, peer, is_met)) = results.ratio(bar) else { continue };
        let Some(figure) = FIGURES.iter().find(|figure| figure.name == bar.figure) else { continue };
        let which = if bar.against == Against::Flushed { "of those that flush" } else { "of all" };
        let (sign, met) = (if figure.is_more_better { "≥" } else { "≤" }, if is_met { "yes" } else { "**no**" });
        let _ =
            writeln!(out, "| {} | {peer}, best {which} | {ratio:.2} | {sign} {} | {met} |", figure.title, bar.times);
    }
    out
}

/// A chart of bars: the median of each peer, and a line from the least to the most.
pub fn chart(results: &Results, title: &str, figures: &[&str]) -> String {
    let shown: Vec<&Figure> = FIGURES.iter().filter(|figure| figures.contains(&figure.name)).collect();
    let panel = TITLE + ROW * results.peers.len() as f64 + 8.0;
    let height = 64.0 + panel * shown.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\">{title}</text>\n"
    );
    let legend = [(OURS, "EventFlow (flushes)"), (FLUSHED, "flushes before the ack"), (UNFLUSHED, "does not flush")];
    for (place, (color, text)) in legend.iter().enumerate() {
        let x = 16.0 + 190.0 * place as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"36\" width=\"12\" height=\"12\" fill=\"{color}\"/><text x=\"{}\" y=\"46\">{text}</text>",
            x + 18.0
        );
    }
    for (index, figure) in shown.iter().enumerate() {
        draw(&mut out, results, figure, 64.0 + panel * index as f64);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, results: &Results, figure: &Figure, top: f64) {
    let spreads: Vec<_> = results.peers.iter().map(|(name, _)| results.spread(name, figure.name)).collect();
    let most = spreads.iter().flatten().map(|spread| spread.most).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + value / most * (WIDTH - LEFT - 90.0);
    let better = if figure.is_more_better { "more is better" } else { "less is better" };
    let _ = writeln!(
        out,
        "<text x=\"16\" y=\"{:.1}\" font-size=\"13\" font-weight=\"bold\">{} <tspan fill=\"#777\" \
         font-weight=\"normal\">({better})</tspan></text>",
        top + 22.0,
        figure.title
    );
    for (row, ((name, about), spread)) in results.peers.iter().zip(&spreads).enumerate() {
        let y = top + TITLE + ROW * row as f64;
        let color = match (name.as_str(), about.is_flushed) {
            ("eventflow", _) => OURS,
            (_, true) => FLUSHED,
            _ => UNFLUSHED,
        };
        let middle = y + ROW / 2.0;
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0, middle + 4.0);
        let Some(spread) = spread else {
            let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#777\">left out</text>", middle + 4.0);
            continue;
        };
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{color}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#222\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            y + 3.0,
            x(spread.median) - LEFT,
            ROW - 6.0,
            x(spread.least),
            x(spread.most),
            x(spread.most) + 6.0,
            middle + 4.0,
            number(spread.median)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::measured;

    fn results() -> Results {
        Results::new(vec![
            measured("eventflow", 0, true, "publish_200", 900_000.0),
            measured("eventflow", 1, true, "publish_200", 700_000.0),
            measured("other", 0, false, "publish_200", 400_000.0),
        ])
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        assert_eq!(number(1_234_567.0), "1,230,000");
        assert_eq!(number(999.6), "1000");
        assert_eq!(number(65_432.0), "65,400");
        assert_eq!((number(86.23), number(0.666)), ("86.2".into(), "0.67".into()));
    }

    #[test]
    fn the_tables_have_every_median_with_its_spread_and_every_bar_that_can_be_held() {
        let text = tables(&results());
        assert!(text.contains("| **800,000** (700,000 to 900,000) | **400,000** (400,000 to 400,000) |"), "{text}");
        assert!(text.contains("| other, best of all | 2.00 | ≥ 1.2 | yes |"), "{text}");
        assert_eq!(text.matches("best of").count(), 1, "no other bar has both sides: {text}");
    }

    #[test]
    fn a_chart_has_a_bar_a_peer_and_says_who_was_left_out() {
        let text = chart(&results(), "Publish", &["publish_200", "publish_1000"]);
        assert_eq!(text.matches("stroke=\"#222\"").count(), 2);
        assert_eq!(text.matches("left out").count(), 2);
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    }
}
