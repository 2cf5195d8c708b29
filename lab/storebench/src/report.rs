//! The figures of all runs.

use std::collections::BTreeMap;

/// Values by what was measured and on what, in the order of their first runs.
pub struct Report {
    order: Vec<(String, String)>,
    values: BTreeMap<(String, String), Vec<f64>>,
    units: BTreeMap<String, &'static str>,
}

impl Report {
    pub fn new() -> Report {
        Report {
            order: Vec::new(),
            values: BTreeMap::new(),
            units: BTreeMap::new(),
        }
    }

    /// Adds one run's figure.
    pub fn add(&mut self, what: &str, on: &str, unit: &'static str, value: f64) {
        let key = (what.to_string(), on.to_string());
        if !self.values.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.values.entry(key).or_default().push(value);
        self.units.insert(what.to_string(), unit);
    }

    /// One line each: median, and lowest to highest.
    pub fn print(&self) {
        println!("{:<38} {:<10} {:>12}   lowest to highest", "", "", "median");
        for key in &self.order {
            let mut values = self.values[key].clone();
            values.sort_by(f64::total_cmp);
            let (low, high) = (values[0], values[values.len() - 1]);
            let unit = self.units[&key.0];
            println!(
                "{:<38} {:<10} {:>8.1} {unit:<4}  {low:.1} to {high:.1}",
                key.0,
                key.1,
                median(&values)
            );
        }
    }
}

/// Of values in order, of which there is at least one.
fn median(values: &[f64]) -> f64 {
    let half = values.len() / 2;
    if values.len() % 2 == 1 {
        values[half]
    } else {
        f64::midpoint(values[half - 1], values[half])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median(&[1.0, 2.0, 9.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < f64::EPSILON);
    }
}
