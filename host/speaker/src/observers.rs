//! Who is told beside the neighbours, as the configuration says: BMP stations, MRT files.

use crate::bmp::{self, Station};
use crate::config_file::ConfigFile;
use crate::handle::Handle;
use crate::record::{self, Series};
use crate::task::Task;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long last words may take when the speaker ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observer {
    Station(Station),
    Updates(Series),
    Tables(Series),
}

/// Those that there are.
#[derive(Default)]
pub(crate) struct Observers {
    running: Vec<(Observer, Task)>,
}

impl Observers {
    /// Starts those that are new, ends those that are not wanted any more, and leaves the others as
    /// they are.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn set(&mut self, file: &ConfigFile, handle: &Arc<Handle>) -> io::Result<()> {
        let mut wanted = file.observers();
        self.running.retain(|(observer, task)| {
            let at = wanted.iter().position(|wanted| wanted == observer);
            match at {
                Some(at) => drop(wanted.remove(at)),
                None => task.stop(),
            }
            at.is_some()
        });
        for observer in wanted {
            let handle = Arc::clone(handle);
            let task = match observer.clone() {
                Observer::Station(station) => bmp::start(station, handle),
                Observer::Updates(series) => record::updates(series, handle),
                Observer::Tables(series) => record::tables(series, handle),
            }?;
            self.running.push((observer, task));
        }
        Ok(())
    }

    /// Waits a while for last words; the speaker has ended.
    pub fn finish(&self) {
        let until = Instant::now() + LAST_WORDS;
        self.running.iter().for_each(|(_, task)| task.stop());
        self.running.iter().for_each(|(_, task)| task.wait(until));
    }
}
