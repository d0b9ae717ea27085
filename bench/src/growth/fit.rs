//! How one quantity grows with another: a power law, by least squares on the logarithms.

/// `y = factor · x ^ exponent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    pub factor: f64,
    pub exponent: f64,
    /// How much of the variation of the logarithms it explains, 0 to 1; 1 when there is none.
    pub r_squared: f64,
}

/// None with fewer than two different sizes. What is not positive has no logarithm and is left out.
pub fn power_law(points: &[(f64, f64)]) -> Option<Fit> {
    let positive = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0);
    let logs: Vec<(f64, f64)> = positive.map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread_x: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if logs.len() < 2 || spread_x < 1e-12 {
        return None;
    }
    let together: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let exponent = together / spread_x;
    let level = mean_y - exponent * mean_x;
    let spread_y: f64 = logs.iter().map(|(_, y)| (y - mean_y).powi(2)).sum();
    let left: f64 = logs.iter().map(|(x, y)| (y - level - exponent * x).powi(2)).sum();
    let r_squared = if spread_y < 1e-12 { 1.0 } else { 1.0 - left / spread_y };
    Some(Fit { factor: level.exp(), exponent, r_squared })
}

impl Fit {
    pub fn at(&self, x: f64) -> f64 {
        self.factor * x.powf(self.exponent)
    }

    /// The exponent, with its sign.
    pub fn text(&self) -> String {
        let text = format!("{:.2}", self.exponent.abs());
        let sign = if self.exponent < 0.0 && text != "0.00" { "−" } else { "" };
        format!("{sign}{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(law: impl Fn(f64) -> f64) -> Fit {
        let points: Vec<(f64, f64)> = [1.0, 10.0, 50.0, 1_000.0].map(|x| (x, law(x))).to_vec();
        power_law(&points).expect("a fit")
    }

    #[test]
    fn a_power_law_is_found_again() {
        for (factor, exponent) in [(3.0, 1.0), (0.5, 2.0), (1e6, -0.5), (7.0, 0.0)] {
            let fit = of(|x| factor * x.powf(exponent));
            assert!((fit.exponent - exponent).abs() < 1e-9, "{fit:?}");
            assert!((fit.factor / factor - 1.0).abs() < 1e-9, "{fit:?}");
            assert!(fit.r_squared > 0.999_999, "{fit:?}");
            assert!((fit.at(100.0) / (factor * 100f64.powf(exponent)) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn what_is_no_power_law_is_explained_less() {
        let fit = of(|x| if x < 20.0 { 1.0 } else { 100.0 / x });
        assert!(fit.r_squared < 0.9, "{fit:?}");
    }

    #[test]
    fn one_size_is_no_curve_and_nothing_is_left_out_silently_but_what_has_no_logarithm() {
        assert_eq!(power_law(&[]), None);
        assert_eq!(power_law(&[(5.0, 1.0)]), None);
        assert_eq!(power_law(&[(5.0, 1.0), (5.0, 2.0)]), None);
        let fit = power_law(&[(1.0, 0.0), (1.0, 2.0), (10.0, 20.0)]).expect("a fit");
        assert!((fit.exponent - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_exponent_is_said_with_two_digits() {
        let fit = |exponent| Fit { factor: 1.0, exponent, r_squared: 1.0 }.text();
        assert_eq!(fit(-0.254), "−0.25");
        assert_eq!(fit(-0.001), "0.00");
        assert_eq!(fit(1.0), "1.00");
    }
}
