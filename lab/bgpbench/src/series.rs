//! Many runs: interleaved, so that what changes on the machine meets all speakers, and without the noisy ones.

use crate::speakers::Speaker;
use crate::works::{Sizes, Work};
use anyhow::Result;
use std::io::{IsTerminal, Write};

/// CPU that others may have during a run, percent of the machine's.
pub const NOISE_LIMIT: f64 = 10.0;

/// How a series is done.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Runs of each work and speaker.
    pub runs: usize,
    /// Keeps noisy runs; the figures are marked.
    pub keep_noisy: bool,
}

impl Terms {
    /// Runs that may be thrown away, of each work and speaker; after that the noisy ones stay, and are marked.
    fn spare(self) -> usize {
        if self.keep_noisy { 0 } else { 2 * self.runs }
    }
}

/// One value over the runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let (half, odd) = (values.len() / 2, values.len() % 2 == 1);
        let median = if odd {
            values[half]
        } else {
            (values[half - 1] + values[half]) / 2.0
        };
        Some(Spread { median, low, high })
    }
}

/// What a speaker showed in a work.
#[derive(Clone, Debug)]
pub struct Cell {
    pub speaker: &'static str,
    /// Each run's values, by the name of the measure.
    pub runs: Vec<Vec<(&'static str, f64)>>,
    /// Percent, of each run that was kept.
    pub noise: Vec<f64>,
    pub thrown_away: usize,
    /// Why there is no value.
    pub missing: Option<String>,
}

impl Cell {
    /// The values of one measure.
    pub fn spread(&self, measure: &str) -> Option<Spread> {
        let value = |run: &Vec<(&str, f64)>| {
            run.iter()
                .find(|(name, _)| *name == measure)
                .map(|(_, v)| *v)
        };
        Spread::of(self.runs.iter().filter_map(value).collect())
    }

    /// Whether noisy runs are in it.
    pub fn is_noisy(&self) -> bool {
        self.noise.iter().any(|noise| *noise > NOISE_LIMIT)
    }
}

/// Does a work with all speakers, in turns.
///
/// # Errors
/// Never for a speaker that fails: that is in its cell.
pub fn series(work: &Work, speakers: &[Speaker], sizes: &Sizes, terms: Terms) -> Result<Vec<Cell>> {
    let cell = |speaker: &Speaker| Cell {
        speaker: speaker.name,
        runs: Vec::new(),
        noise: Vec::new(),
        thrown_away: 0,
        missing: reason_to_leave_out(speaker, work),
    };
    let mut cells: Vec<Cell> = speakers.iter().map(cell).collect();
    let mut progress = Progress::new(work.name, terms.runs);
    // Turns until all have their runs; a noisy run is made up for in a later turn.
    while cells
        .iter()
        .any(|cell| cell.missing.is_none() && cell.runs.len() < terms.runs)
    {
        for (cell, speaker) in cells.iter_mut().zip(speakers) {
            if cell.missing.is_some() || cell.runs.len() >= terms.runs {
                continue;
            }
            progress.show(speaker.name, cell.runs.len() + 1, cell.thrown_away);
            match work.once(speaker, sizes) {
                Err(error) => cell.missing = Some(format!("{error:#}")),
                Ok(outcome)
                    if outcome.noise.total() > NOISE_LIMIT && cell.thrown_away < terms.spare() =>
                {
                    cell.thrown_away += 1;
                }
                Ok(outcome) => {
                    cell.noise.push(outcome.noise.total());
                    cell.runs.push(outcome.values);
                }
            }
        }
    }
    progress.end();
    Ok(cells)
}

fn reason_to_leave_out(speaker: &Speaker, work: &Work) -> Option<String> {
    let cannot = speaker.cannot.iter().find(|(name, _)| *name == work.name);
    cannot.map(|(_, reason)| (*reason).to_owned())
}

/// One line on a terminal, nothing elsewhere.
struct Progress {
    work: &'static str,
    runs: usize,
    shown: bool,
}

impl Progress {
    fn new(work: &'static str, runs: usize) -> Progress {
        Progress {
            work,
            runs,
            shown: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, speaker: &str, run: usize, thrown_away: usize) {
        if self.shown {
            let thrown_away = match thrown_away {
                0 => String::new(),
                count => format!(" ({count} thrown away: the machine was busy)"),
            };
            eprint!(
                "\r\x1b[K{}: {speaker}, run {run} of {}{thrown_away}",
                self.work, self.runs
            );
            let _ = std::io::stderr().flush();
        }
    }

    fn end(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let of = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&[3.0, 1.0, 2.0]),
            Some(Spread {
                median: 2.0,
                low: 1.0,
                high: 3.0
            })
        );
        assert_eq!(
            of(&[4.0, 1.0]),
            Some(Spread {
                median: 2.5,
                low: 1.0,
                high: 4.0
            })
        );
    }
}
