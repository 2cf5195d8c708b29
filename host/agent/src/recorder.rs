//! Writes a run down, so that it can be replayed (`node::replay`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use node::{Input, Line, Now, Options, Output, Recorded};

/// One JSON line an input and output.
#[derive(Debug)]
pub(crate) struct Recorder(Option<BufWriter<File>>);

impl Recorder {
    /// Begins a recording, in place of an older one.
    pub(crate) fn create(path: &Path, options: &Options) -> Result<Recorder> {
        let file =
            File::create(path).with_context(|| format!("recording to {}", path.display()))?;
        let mut recorder = Recorder(Some(BufWriter::new(file)));
        recorder.write(&Line::Start(options.clone()));
        Ok(recorder)
    }

    pub(crate) fn input(&mut self, input: &Input, now: Now) {
        self.write(&Line::In(Recorded::new(input.clone(), now)));
    }

    pub(crate) fn output(&mut self, output: &Output) {
        self.write(&Line::of(output));
    }

    /// A recording that cannot be written ends, and the node goes on.
    fn write(&mut self, line: &Line) {
        let Some(file) = &mut self.0 else { return };
        let text = serde_json::to_string(line).map_err(std::io::Error::from);
        if let Err(error) =
            text.and_then(|text| writeln!(file, "{text}").and_then(|()| file.flush()))
        {
            tracing::warn!("recording-ended: {error}");
            self.0 = None;
        }
    }
}
