//! The owner's end: finds the process or starts it, says what is wanted, hears what changes.

use crate::message::{FromLiveness, PROTOCOL, SessionChange, SessionReport, ToLiveness, Wanted};
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Shutdown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between attempts to reach the process.
const AGAIN: Duration = Duration::from_millis(20);
/// Before another process is started, when the last one has not come to anything.
const START_AGAIN: Duration = Duration::from_secs(3);

/// Where the process is found, and how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its socket.
    pub socket: PathBuf,
    /// Program and arguments. It must come to [`crate::run`] with the same socket.
    pub command: Vec<OsString>,
    /// So long after the start, sessions that are there stay though nobody has asked for them yet.
    pub keep_others: Duration,
}

impl Launch {
    /// This very program, as `selvedge liveness run`. It stays the same one when its file is replaced meanwhile.
    pub fn own(socket: PathBuf) -> Self {
        let words = ["/proc/self/exe", "liveness", "run", "--socket"];
        let mut command: Vec<OsString> = words.map(OsString::from).into();
        command.push(socket.clone().into_os_string());
        Launch {
            socket,
            command,
            keep_others: Duration::ZERO,
        }
    }

    fn start(&self) -> io::Result<Child> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(io::Error::other("no command is given"));
        };
        Command::new(program)
            .arg0("selvedge")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
    }
}

/// What is known of the path to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathEvent {
    /// The session is up, or was up already when the process was taken over.
    Up {
        /// The neighbour.
        remote: IpAddr,
        /// As in [`Wanted`].
        scope: u32,
    },
    /// It was up, and packets are lost.
    Lost {
        /// The neighbour.
        remote: IpAddr,
        /// As in [`Wanted`].
        scope: u32,
        /// `detection-time-expired` and so on.
        reason: String,
        /// Both C bits are set: it is forwarding that is lost, not only a control plane (RFC 5882 §4.3.1).
        control_plane_independent: bool,
    },
    /// It is not up, which says nothing about the path: BFD was turned off there, or has only begun.
    Unknown {
        /// The neighbour.
        remote: IpAddr,
        /// As in [`Wanted`].
        scope: u32,
    },
}

struct State {
    /// Until then others stay.
    keep_until: Option<Instant>,
    wanted: Option<Vec<Wanted>>,
    stream: Option<UnixStream>,
    stopped: bool,
}

impl State {
    fn message(&self) -> ToLiveness {
        ToLiveness::Want {
            sessions: self.wanted.clone().unwrap_or_default(),
            keep_others: self.keep_until.is_some_and(|until| Instant::now() < until),
        }
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An owner. Dropping it leaves the process as it is, for the next one.
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Begins. `tell` is called from a thread of the client's own; it must not wait long.
    ///
    /// # Errors
    /// When the thread cannot be made. A process that cannot be started is tried again, and logged.
    pub fn start(launch: Launch, tell: impl Fn(PathEvent) + Send + 'static) -> io::Result<Client> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                // Without a time to keep others nothing need be said again later: what is said twice may come
                // after somebody's End, and undo it.
                keep_until: (!launch.keep_others.is_zero())
                    .then(|| Instant::now() + launch.keep_others),
                wanted: None,
                stream: None,
                stopped: false,
            }),
            changed: Condvar::new(),
        });
        let own = Owner {
            shared: Arc::clone(&shared),
            launch,
            child: None,
            started: None,
            complained: false,
            tell: Box::new(tell),
        };
        let thread = std::thread::Builder::new()
            .name("liveness".into())
            .spawn(move || own.run())?;
        Ok(Client {
            shared,
            thread: Some(thread),
        })
    }

    /// Exactly these sessions from now on.
    pub fn want(&self, wanted: Vec<Wanted>) {
        let mut state = self.shared.lock();
        state.wanted = Some(wanted);
        if let Some(stream) = &state.stream {
            // When it fails the reader sees the end too, and says it anew to the next process.
            let _ = say(stream, &state.message());
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        if let Some(stream) = &state.stream {
            // Gone already is well.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.shared.changed.notify_all();
        drop(state);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the liveness thread had ended with a panic");
        }
    }
}

/// Ends a process that a former owner left, if there is one, and does not wait for it.
pub fn end(socket: &Path) {
    if let Ok(stream) = UnixStream::connect(socket) {
        // It may have ended by itself.
        let _ = say(&stream, &ToLiveness::End);
    }
}

fn say(mut stream: &UnixStream, message: &ToLiveness) -> io::Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    stream.write_all(line.as_bytes())
}

/// A line heard.
pub(crate) enum Line {
    Known(FromLiveness),
    /// From another version.
    Unknown,
}

/// A conversation with the process.
pub(crate) struct Conversation {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    /// The beginning of a line whose end was not there yet.
    begun: Vec<u8>,
}

/// Connects; each answer is awaited for so long.
pub(crate) fn converse(socket: &Path, patience: Duration) -> io::Result<Conversation> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let reader = BufReader::new(stream.try_clone()?);
    Ok(Conversation {
        stream,
        reader,
        begun: Vec::new(),
    })
}

impl Conversation {
    pub fn say(&self, message: &ToLiveness) -> io::Result<()> {
        say(&self.stream, message)
    }

    /// The next line; `None` at the end.
    pub fn hear(&mut self) -> io::Result<Option<Line>> {
        // What was read before an error stays in the buffer.
        if self.reader.read_until(b'\n', &mut self.begun)? == 0 {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.begun);
        Ok(Some(
            serde_json::from_slice(&line).map_or(Line::Unknown, Line::Known),
        ))
    }
}

struct Owner {
    shared: Arc<Shared>,
    launch: Launch,
    child: Option<Child>,
    started: Option<Instant>,
    complained: bool,
    tell: Box<dyn Fn(PathEvent) + Send>,
}

impl Owner {
    fn run(mut self) {
        while self.await_wanted() {
            match converse(&self.launch.socket, Duration::from_secs(5)) {
                Ok(conversation) => {
                    if let Err(error) = self.own(conversation) {
                        tracing::debug!("the liveness process: {error}");
                    }
                    self.shared.lock().stream = None;
                }
                Err(_) => self.start_process(),
            }
            self.reap();
            self.pause();
        }
        self.reap();
    }

    /// False when the owner wants no more.
    fn await_wanted(&self) -> bool {
        let mut state = self.shared.lock();
        while state.wanted.is_none() && !state.stopped {
            state = (self.shared.changed.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
        !state.stopped
    }

    fn pause(&self) {
        let state = self.shared.lock();
        if !state.stopped {
            drop(self.shared.changed.wait_timeout(state, AGAIN));
        }
    }

    fn start_process(&mut self) {
        if self.started.is_some_and(|at| at.elapsed() < START_AGAIN) {
            return;
        }
        self.started = Some(Instant::now());
        match self.launch.start() {
            Ok(child) => self.child = Some(child),
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(
                    "bfd-process: the liveness process cannot be started: {error}. It is tried again every few seconds."
                );
            }
            Err(_) => {}
        }
    }

    /// One that has ended must not stay as a zombie.
    fn reap(&mut self) {
        let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)) | Err(_));
        if self.child.as_mut().is_some_and(ended) {
            self.child = None;
        }
    }

    /// Takes the process over and listens until it ends.
    fn own(&mut self, mut conversation: Conversation) -> io::Result<()> {
        match conversation.hear()? {
            Some(Line::Known(FromLiveness::Hello { protocol, .. })) if protocol == PROTOCOL => {}
            Some(Line::Known(_) | Line::Unknown) => {
                tracing::info!("the liveness process is of another version: it is replaced");
                conversation.say(&ToLiveness::End)?;
                // Until it ends.
                while conversation.hear()?.is_some() {}
                return Ok(());
            }
            None => return Ok(()),
        }
        {
            let mut state = self.shared.lock();
            if state.stopped {
                return Ok(());
            }
            conversation.say(&state.message())?;
            state.stream = Some(conversation.stream.try_clone()?);
        }
        self.complained = false;
        while let Some(line) = self.hear(&mut conversation)? {
            match line {
                Line::Known(FromLiveness::Sessions(sessions)) => {
                    for session in &sessions {
                        (self.tell)(standing(session));
                    }
                }
                Line::Known(FromLiveness::Change(change)) => (self.tell)(event(change)),
                Line::Known(FromLiveness::Hello { .. } | FromLiveness::Report(_))
                | Line::Unknown => {}
            }
        }
        Ok(())
    }
}

impl Owner {
    /// The next line; meanwhile, when the time has come, says that others need not be kept any longer.
    fn hear(&self, conversation: &mut Conversation) -> io::Result<Option<Line>> {
        loop {
            let mut state = self.shared.lock();
            let left = state
                .keep_until
                .map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                state.keep_until = None;
                conversation.say(&state.message())?;
                continue;
            }
            drop(state);
            conversation.stream.set_read_timeout(left)?;
            match conversation.hear() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        }
    }
}

fn standing(session: &SessionReport) -> PathEvent {
    let (remote, scope) = (session.remote, session.scope);
    if session.state == "up" {
        PathEvent::Up { remote, scope }
    } else {
        PathEvent::Unknown { remote, scope }
    }
}

fn event(change: SessionChange) -> PathEvent {
    let (remote, scope) = (change.remote, change.scope);
    if change.to == "up" {
        return PathEvent::Up { remote, scope };
    }
    match change.reason {
        Some(reason) if change.from == "up" && change.failure => PathEvent::Lost {
            remote,
            scope,
            reason,
            control_plane_independent: change.control_plane_independent,
        },
        Some(_) | None => PathEvent::Unknown { remote, scope },
    }
}
