//! Charts over time, as SVG: panels one below the other, each with its own scale from zero.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const GAP: f64 = 40.0;
pub const COLORS: [&str; 4] = ["#1f6fb2", "#c2410c", "#3f7d3a", "#7c3aed"];

pub struct Panel {
    pub title: String,
    pub series: Vec<Series>,
}

pub struct Series {
    pub name: String,
    /// Values in the order of the chart's times.
    pub values: Vec<f64>,
}

/// `marks` are times with a word, drawn as vertical lines.
pub fn svg(title: &str, seconds: &[f64], panels: &[Panel], marks: &[(f64, &str)]) -> String {
    let height = TOP + panels.len() as f64 * (PANEL + GAP) + 10.0;
    let end = seconds.last().copied().unwrap_or(1.0).max(1.0);
    let x = |second: f64| LEFT + second / end * (WIDTH - LEFT - RIGHT);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let bottom = TOP + index as f64 * (PANEL + GAP) + PANEL;
        draw_panel(&mut out, panel, seconds, bottom, &x);
        for (second, _) in marks {
            let (at, top) = (x(*second), bottom - PANEL);
            let _ = writeln!(
                out,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>"
            );
        }
    }
    for (second, word) in marks {
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"40\" fill=\"#555\">{word}</text>", x(*second) + 3.0);
    }
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#555\">0 s</text>", height - 8.0);
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555\" text-anchor=\"end\">{end:.0} s</text>\n</svg>",
        WIDTH - RIGHT,
        height - 8.0
    );
    out
}

fn draw_panel(out: &mut String, panel: &Panel, seconds: &[f64], bottom: f64, x: &impl Fn(f64) -> f64) {
    let values = panel.series.iter().flat_map(|series| series.values.iter().copied());
    let top_value = nice_above(values.fold(0.0, f64::max));
    let y = |value: f64| bottom - value / top_value * PANEL;
    let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{:.1}\" fill=\"#333\">{}</text>", bottom - PANEL - 5.0, panel.title);
    for step in 0..=2 {
        let value = top_value * f64::from(step) / 2.0;
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            y(value),
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
            crate::output::number(value)
        );
    }
    for (index, series) in panel.series.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let points: Vec<String> = seconds
            .iter()
            .zip(&series.values)
            .map(|(second, value)| format!("{:.1},{:.1}", x(*second), y(*value)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\" points=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{color}\" text-anchor=\"end\">{}</text>",
            points.join(" "),
            WIDTH - RIGHT - 130.0 * index as f64,
            bottom - PANEL - 5.0,
            series.name
        );
    }
}

/// 1, 2 or 5 times a power of ten, at least the value.
fn nice_above(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().map(|step| step * power).find(|nice| *nice >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!(nice_above(0.0), 1.0);
        assert_eq!(nice_above(1_234.0), 2_000.0);
        assert_eq!(nice_above(5.0), 5.0);
        assert_eq!(nice_above(0.07), 0.1);
    }

    #[test]
    fn a_chart_has_a_line_a_series_and_a_mark_a_panel() {
        let series = |name: &str| Series { name: name.into(), values: vec![1.0, 2.0] };
        let panels = [
            Panel { title: "a".into(), series: vec![series("one"), series("two")] },
            Panel { title: "b".into(), series: vec![series("three")] },
        ];
        let text = svg("title", &[0.0, 10.0], &panels, &[(5.0, "here")]);
        assert_eq!(text.matches("<polyline").count(), 3);
        assert_eq!(text.matches("stroke-dasharray").count(), 2);
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    }
}
