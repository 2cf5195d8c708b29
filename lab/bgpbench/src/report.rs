//! What a series gave, as a table for people or JSON for programs.

use crate::series::{Cell, Spread};
use crate::works::{Goal, Measure, Sizes, Work};
use serde_json::{Value, json};

/// A value beside the one that it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The value's ratio to the other one, or the value itself.
    pub figure: f64,
    /// What it is compared with: a speaker's name, or nothing.
    pub with: Option<&'static str>,
    pub must: f64,
    pub aim: f64,
}

impl Verdict {
    /// `aim`, `must`, or `missed`: the best that is reached.
    pub fn name(&self) -> &'static str {
        match self.figure {
            figure if figure <= self.aim => "aim",
            figure if figure <= self.must => "must",
            _ => "missed",
        }
    }
}

/// How selvedge stands in a measure; nothing where it or the other one was not measured.
pub fn verdict(measure: &Measure, cells: &[Cell]) -> Option<Verdict> {
    let median = |cell: &Cell| cell.spread(measure.name).map(|spread| spread.median);
    let of = |name: &str| {
        cells
            .iter()
            .find(|cell| cell.speaker == name)
            .and_then(median)
    };
    let own = of("selvedge")?;
    // What is too short to be measured is taken as a hundredth of what the clocks show.
    let ratio = |other: f64| own / other.max(1e-4);
    match measure.goal {
        Goal::None => None,
        Goal::AtMost(must, aim) => Some(Verdict {
            figure: own,
            with: None,
            must,
            aim,
        }),
        Goal::Times(name, must, aim) => of(name).map(|other| Verdict {
            figure: ratio(other),
            with: Some(name),
            must,
            aim,
        }),
        Goal::TimesBest(must, aim) => {
            let others = cells
                .iter()
                .filter(|cell| !["selvedge", "relay"].contains(&cell.speaker));
            let best = others.filter_map(|cell| Some((median(cell)?, cell.speaker)));
            let (other, name) = best.min_by(|a, b| a.0.total_cmp(&b.0))?;
            Some(Verdict {
                figure: ratio(other),
                with: Some(name),
                must,
                aim,
            })
        }
    }
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn cell_text(cell: &Cell, measure: &Measure) -> String {
    let noisy = if cell.is_noisy() { "~" } else { "" };
    match cell.spread(measure.name) {
        None => "-".into(),
        Some(Spread { median, low, high }) if digits(low) == digits(high) => {
            format!("{noisy}{}", digits(median))
        }
        Some(Spread { median, low, high }) => {
            format!(
                "{noisy}{} ({}-{})",
                digits(median),
                digits(low),
                digits(high)
            )
        }
    }
}

/// The table of one work.
pub fn table(work: &Work, cells: &[Cell], sizes: &Sizes) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut head = vec![String::new()];
    head.extend(cells.iter().map(|cell| cell.speaker.to_owned()));
    head.extend(["ratio", "must", "aim", ""].map(str::to_owned));
    rows.push(head);
    for measure in work.measures {
        let unit = if measure.unit.is_empty() {
            String::new()
        } else {
            format!(", {}", measure.unit)
        };
        let mut row = vec![format!("{}{unit}", measure.name)];
        row.extend(cells.iter().map(|cell| cell_text(cell, measure)));
        if let Some(verdict) = verdict(measure, cells) {
            let with = verdict
                .with
                .map(|name| format!(" x {name}"))
                .unwrap_or_default();
            row.push(format!("{}{with}", digits(verdict.figure)));
            row.extend([
                digits(verdict.must),
                digits(verdict.aim),
                verdict.name().to_owned(),
            ]);
        }
        rows.push(row);
    }
    let mut out = format!("{}: {}\n", work.name, (work.what)(sizes));
    out += &aligned(&rows);
    for cell in cells {
        if let Some(reason) = &cell.missing {
            out += &format!("  {}: not measured: {reason}\n", cell.speaker);
        } else if cell.thrown_away > 0 {
            out += &format!(
                "  {}: {} noisy runs thrown away\n",
                cell.speaker, cell.thrown_away
            );
        }
    }
    out
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| {
        rows.iter()
            .filter_map(|row| row.get(i))
            .map(|text| text.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(i, (text, width))| match i {
                0 => format!("  {text:<width$}"),
                _ => format!("  {text:>width$}"),
            });
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    rows.iter().map(line).collect()
}

/// One work as JSON.
pub fn json(work: &Work, cells: &[Cell], sizes: &Sizes) -> Value {
    let measures = work.measures.iter().map(|measure| {
        let speakers = cells.iter().filter_map(|cell| {
            let spread = cell.spread(measure.name)?;
            let value = json!({"median": spread.median, "low": spread.low, "high": spread.high});
            Some((cell.speaker.to_owned(), value))
        });
        let verdict = verdict(measure, cells).map(|v| {
            json!({"figure": v.figure, "with": v.with, "must": v.must, "aim": v.aim, "reached": v.name()})
        });
        json!({
            "name": measure.name, "unit": measure.unit, "speakers": Value::Object(speakers.collect()),
            "verdict": verdict,
        })
    });
    let runs = cells.iter().map(|cell| {
        json!({
            "speaker": cell.speaker, "runs": cell.runs.len(), "thrown_away": cell.thrown_away,
            "noise_percent": cell.noise, "noisy": cell.is_noisy(), "missing": cell.missing,
        })
    });
    json!({
        "work": work.name, "what": (work.what)(sizes), "measures": measures.collect::<Value>(),
        "speakers": runs.collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(speaker: &'static str, values: &[f64]) -> Cell {
        Cell {
            speaker,
            runs: values.iter().map(|value| vec![("x", *value)]).collect(),
            noise: vec![0.0; values.len()],
            thrown_away: 0,
            missing: None,
        }
    }

    #[track_caller]
    fn check(goal: Goal, expected: Option<(f64, Option<&str>, &str)>) {
        let cells = [
            cell("selvedge", &[1.0, 9.0, 1.0]),
            cell("bird", &[2.0]),
            cell("frr", &[4.0]),
            cell("relay", &[0.1]),
            cell("gobgp", &[]),
        ];
        let found = verdict(
            &Measure {
                name: "x",
                unit: "s",
                goal,
            },
            &cells,
        );
        assert_eq!(
            found.as_ref().map(|v| (v.figure, v.with, v.name())),
            expected
        );
    }

    #[test]
    fn verdicts() {
        check(Goal::None, None);
        check(
            Goal::Times("frr", 0.5, 0.3),
            Some((0.25, Some("frr"), "aim")),
        );
        check(
            Goal::Times("bird", 0.5, 0.3),
            Some((0.5, Some("bird"), "must")),
        );
        check(
            Goal::TimesBest(0.4, 0.3),
            Some((0.5, Some("bird"), "missed")),
        );
        check(Goal::AtMost(0.5, 0.1), Some((1.0, None, "missed")));
        check(Goal::Times("gobgp", 1.0, 1.0), None);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            vec!["a".into(), "1".into()],
            vec!["bbb".into(), "22".into()],
        ];
        assert_eq!(aligned(&rows), "  a     1\n  bbb  22\n");
    }
}
