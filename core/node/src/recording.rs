//! A run written down, and run again.

use serde::{Deserialize, Serialize};

use crate::{Node, Options, Output, Recorded};

/// One line of a recording, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// The first: how the node was made.
    Start(Options),
    /// What happened.
    In(Recorded),
    /// What was asked for then, in [`Output`]'s `Debug` form.
    Out(String),
}

impl Line {
    /// The line of an output.
    pub fn of(output: &Output) -> Line {
        Line::Out(format!("{output:?}"))
    }
}

/// Where a replay went another way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The recording does not begin with a start.
    #[error("line {0} of the recording comes before its start")]
    NoStart(usize),
    /// The outputs differ.
    #[error("line {line} of the recording:\n  recorded {recorded}\n  replayed {replayed}")]
    Differs {
        /// From 1.
        line: usize,
        /// As recorded, or `nothing`.
        recorded: String,
        /// As replayed, or `nothing`.
        replayed: String,
    },
}

/// Feeds a recording's inputs to a new node and compares its outputs; gives how many were equal. A recording may end
/// anywhere, as that of a killed agent does.
///
/// # Errors
/// The first difference.
pub fn replay(lines: &[Line]) -> Result<usize, ReplayError> {
    let mut node: Option<Node> = None;
    let mut expected: Vec<Output> = Vec::new();
    let mut equal = 0;
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        let differs = |recorded: &str, replayed: &str| ReplayError::Differs {
            line: number,
            recorded: recorded.to_string(),
            replayed: replayed.to_string(),
        };
        match line {
            Line::Start(options) => {
                node = Some(Node::new(options.clone()));
                expected.clear();
            }
            Line::In(recorded) => {
                if let Some(more) = expected.first() {
                    return Err(differs("nothing", &format!("{more:?}")));
                }
                let node = node.as_mut().ok_or(ReplayError::NoStart(number))?;
                let now = recorded.now();
                node.handle(recorded.input.clone(), now);
                while let Some(output) = node.poll(now) {
                    expected.push(output);
                }
            }
            Line::Out(text) => {
                let replayed = if expected.is_empty() {
                    "nothing".to_string()
                } else {
                    format!("{:?}", expected.remove(0))
                };
                if replayed != *text {
                    return Err(differs(text, &replayed));
                }
                equal += 1;
            }
        }
    }
    Ok(equal)
}
