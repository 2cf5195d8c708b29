//! The loop: one owner of the machine, fed by the threads.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, Result};
use intent::LogSeverity;
use node::{Input, LearntRoute, Names, Node, Notice, Options, Output, SpeakerConfig};
use store::AnyStore;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use crate::config::AgentConfig;
use crate::control::{self, SharedSpeaker};
use crate::event::{Event, ToLoop, now};
use crate::files::{HealthFile, make_directory, write_whole};
use crate::kernel_threads::KernelThreads;
use crate::lock::Lock;
use crate::recorder::Recorder;
use crate::report::{self, Told};
use crate::secrets::{LOOK_AGAIN, Secrets};
use crate::{collector, identity, names, session_report, startup, store_watch, tunnel};

/// The speaker tries an address that it cannot listen on every few seconds.
const LISTEN_ERROR_LASTS: Duration = Duration::from_secs(15);

/// Runs a node until SIGTERM or SIGINT. Routes and rules stay when it ends, and BGP sessions end without Cease, so that
/// peers with graceful restart keep forwarding here.
///
/// # Errors
/// What hindered the start; once started, only the loss of a thread ends it.
pub fn run(config: &AgentConfig, store_config: &store::Config) -> Result<()> {
    run_with(config, store_config, &|_| {})
}

/// [`run`]; `log` is told how much the log is to say when the store asks for something else than the usual.
///
/// # Errors
/// As there.
pub fn run_with(
    config: &AgentConfig,
    store_config: &store::Config,
    log: &dyn Fn(LogSeverity),
) -> Result<()> {
    make_directory(&config.paths.run)?;
    make_directory(&config.paths.lib)?;
    let _lock = Lock::take(&config.paths.run, &config.name)?;
    let store = store::open(store_config)
        .with_context(|| format!("opening the datastore ({})", store_config.origin))?;
    let mut kernel = linux::Kernel::open().context("opening netlink")?;
    let actual = kernel.read()?;
    let ipip_possible = linux::ipip_possible().unwrap_or_else(|error| {
        tracing::warn!("ipip-unknown: {error}");
        false
    });
    let started = store::block_on(startup::start(&store, config, &actual))?;
    for step in &started.steps {
        tracing::info!("{step}");
    }
    for warning in &started.warnings {
        tracing::warn!("{warning}");
    }
    write_whole(&config.paths.lib.join("nodename"), &config.name)?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the event loop")?;
    LocalSet::new().block_on(&runtime, async move {
        let (mut agent, events) = Agent::start(config, store, kernel, ipip_possible, log)?;
        agent.run(events).await
    })
}

struct Agent<'a> {
    config: &'a AgentConfig,
    log: &'a dyn Fn(LogSeverity),
    node: Node,
    ipip_possible: bool,
    kernel: KernelThreads,
    speaker: SharedSpeaker,
    to_loop: ToLoop,
    names: watch::Sender<Option<Names>>,
    tunnel: Sender<Option<Ipv4Addr>>,
    report: Sender<Told>,
    recorder: Option<Recorder>,
    store_error: Option<String>,
    tunnel_error: Option<String>,
    listen_errors: BTreeMap<String, Instant>,
    wanted: Option<Box<SpeakerConfig>>,
    secrets: Secrets,
    missing: BTreeSet<String>,
    health: String,
    /// The datastore was told that the network is there.
    told_up: bool,
    _control: Vec<control::Control>,
}

impl<'a> Agent<'a> {
    fn start(
        config: &'a AgentConfig,
        store: AnyStore,
        kernel: linux::Kernel,
        ipip_possible: bool,
        log: &'a dyn Fn(LogSeverity),
    ) -> Result<(Agent<'a>, mpsc::Receiver<Event>)> {
        let (to_loop, events) = ToLoop::channel();
        let options = Options {
            name: config.name.clone(),
            router_id: config.router_id.resolve(&config.name),
            bgp: config.bgp,
            bfd: config.bfd.filter(|_| config.bgp),
            advertise_cluster_ips: config.advertise_cluster_ips.clone(),
        };
        if options.bfd.is_none() {
            // One that a former agent left has nothing to do any more.
            liveness::end(&config.paths.run.join(LIVENESS_SOCKET));
        }
        let recorder = config
            .record
            .as_ref()
            .map(|path| Recorder::create(path, &options))
            .transpose()?;
        let speaker: SharedSpeaker = Rc::new(RefCell::new(None));
        let run = &config.paths.run;
        let control = vec![
            control::serve(run, false, &speaker)?,
            control::serve(run, true, &speaker)?,
        ];
        let kernel = KernelThreads::spawn(kernel, &to_loop)?;
        let (names_sender, names_receiver) = watch::channel(None);
        names::spawn(names_receiver, to_loop.clone())?;
        let tunnel = tunnel::spawn(store.clone(), config.name.clone(), to_loop.clone())?;
        collector::spawn(store.clone(), &config.name, to_loop.clone())
            .context("starting the thread ipam-collector")?;
        let report = report::spawn(
            store.clone(),
            config.name.clone(),
            config.report_period,
            to_loop.clone(),
        )?;
        store_watch::spawn(store, to_loop.clone(), report.clone())
            .context("starting the thread store-watch")?;
        let agent = Agent {
            config,
            log,
            node: Node::new(options),
            ipip_possible,
            kernel,
            speaker,
            to_loop,
            names: names_sender,
            tunnel,
            report,
            recorder,
            store_error: None,
            tunnel_error: None,
            listen_errors: BTreeMap::new(),
            wanted: None,
            secrets: Secrets::new(config.paths.secrets.clone()),
            missing: BTreeSet::new(),
            health: String::new(),
            told_up: false,
            _control: control,
        };
        Ok((agent, events))
    }

    async fn run(&mut self, mut events: mpsc::Receiver<Event>) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("listening to SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening to SIGINT")?;
        self.feed(Input::Timer)?;
        let mut looked = Instant::now();
        loop {
            let deadline = self.node.next_deadline();
            let due = async {
                match deadline {
                    Some(at) => sleep_until(Instant::now() + at.saturating_sub(now().mono)).await,
                    None => pending().await,
                }
            };
            let has_secrets = self
                .wanted
                .as_ref()
                .is_some_and(|w| !w.passwords.is_empty());
            let look = async {
                match has_secrets {
                    true => sleep_until(looked + LOOK_AGAIN).await,
                    false => pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                event = events.recv() => match event {
                    Some(event) => {
                        self.take(event)?;
                        // What is at hand is taken together: one plan instead of many.
                        while let Ok(more) = events.try_recv() {
                            self.take(more)?;
                        }
                    }
                    None => break,
                },
                () = due => self.feed(Input::Timer)?,
                () = look => {
                    looked = Instant::now();
                    self.look_at_secrets()?;
                }
            }
            self.write_health();
        }
        self.stop();
        Ok(())
    }

    /// A planned stop: sessions end without Cease, and everything in the kernel stays.
    fn stop(&mut self) {
        tracing::info!(
            "stopping: routes and rules stay, and peers that know graceful restart keep theirs"
        );
        if let Some(speaker) = self.speaker.borrow_mut().take() {
            speaker.stop();
        }
        // Whoever looks must not take the last state for the present one.
        let _ = std::fs::remove_file(self.health_path());
    }

    fn take(&mut self, event: Event) -> Result<()> {
        let input = match event {
            Event::Listing(changes) => Input::Listing(changes),
            Event::Changes(changes) => Input::Changes(changes),
            Event::Kernel(actual) => Input::Kernel {
                actual,
                ipip_possible: self.ipip_possible,
            },
            Event::KernelUnreadable(why) => Input::KernelUnreadable(why),
            Event::KernelChanged => Input::KernelChanged,
            Event::Applied(id, failures) => Input::Applied { id, failures },
            Event::Routes(changes) => {
                Input::Routes(changes.iter().map(LearntRoute::from).collect())
            }
            Event::BgpInSync => Input::BgpInSync,
            Event::Peer(event) => {
                say_peer(&event);
                // A thread that is gone has taken the process with it.
                let _ = self.report.send(Told::Changed);
                return Ok(());
            }
            Event::StoreUnreadable(why) => {
                tracing::warn!(
                    "store-unreadable: {why}. It is read again each second; what is known stays in force."
                );
                self.store_error = Some(format!("store-unreadable: {why}"));
                return Ok(());
            }
            Event::StoreReadable => {
                tracing::info!("the datastore can be read again");
                self.store_error = None;
                return Ok(());
            }
            Event::Tunnel(error) => {
                if let Some(text) = &error {
                    tracing::warn!("{text}. It is tried again every other second.");
                }
                self.tunnel_error = error;
                return Ok(());
            }
            Event::ListenFailed(address, why) => {
                let text = format!("bgp-listen: {address}: {why}");
                if self
                    .listen_errors
                    .insert(text.clone(), Instant::now())
                    .is_none()
                {
                    tracing::warn!(
                        "{text}. It is tried again every few seconds; see `ss -ltnp` for who has the port."
                    );
                }
                return Ok(());
            }
            Event::Say(true, text) => {
                tracing::warn!("{text}");
                return Ok(());
            }
            Event::Say(false, text) => {
                tracing::info!("{text}");
                return Ok(());
            }
        };
        self.feed(input)
    }

    fn feed(&mut self, input: Input) -> Result<()> {
        let now = now();
        if let Some(recorder) = &mut self.recorder {
            recorder.input(&input, now);
        }
        self.node.handle(input, now);
        while let Some(output) = self.node.poll(now) {
            if let Some(recorder) = &mut self.recorder {
                recorder.output(&output);
            }
            self.execute(output)?;
        }
        Ok(())
    }

    fn execute(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Speaker(wanted) => {
                self.secrets.read(&wanted);
                let config = self.secrets.fill(&wanted);
                self.wanted = Some(wanted);
                self.say_missing();
                self.configure_speaker(config)?;
                let wanted = session_report::wanted(&self.node);
                let _ = self.report.send(Told::Wanted(wanted));
            }
            Output::ReadKernel => self.kernel.read(),
            Output::Apply { id, batch } => {
                for operation in &batch.operations {
                    tracing::debug!("{operation}");
                }
                self.kernel.apply(id, batch);
            }
            Output::Names(names) => drop(self.names.send(Some(names))),
            // The thread that is gone has taken the process with it, or the process ends.
            Output::TunnelAddress { present, .. } => drop(self.tunnel.send(present)),
            Output::PodMtu(mtu) => {
                write_whole(&self.config.paths.lib.join("mtu"), &mtu.to_string())?;
            }
            Output::LogSeverity(severity) => (self.log)(severity),
            Output::Notice(notice) => say(&notice),
        }
        Ok(())
    }

    /// Another password is put to use without a new session (RFC 2385 §4.5); one that has come makes its session begin.
    fn look_at_secrets(&mut self) -> Result<()> {
        let Some(wanted) = self.wanted.take() else {
            return Ok(());
        };
        let changed = self.secrets.read(&wanted);
        let config = changed.then(|| self.secrets.fill(&wanted));
        self.wanted = Some(wanted);
        match config {
            Some(config) => {
                self.say_missing();
                self.configure_speaker(config)
            }
            None => Ok(()),
        }
    }

    fn say_missing(&mut self) {
        let wanted = self.wanted.iter();
        let missing: BTreeSet<String> = wanted.flat_map(|w| self.secrets.missing(w)).collect();
        for text in missing.difference(&self.missing) {
            say(&Notice::Refused(text.clone()));
        }
        for text in self.missing.difference(&missing) {
            say(&Notice::Mended(text.clone()));
        }
        self.missing = missing;
    }

    fn configure_speaker(&mut self, config: bgp::Config) -> Result<()> {
        let mut speaker = self.speaker.borrow_mut();
        if let Some(speaker) = speaker.as_ref() {
            speaker.configure(config);
            return Ok(());
        }
        let options = speaker::Options {
            seed: Some(identity::seed()?),
            liveness: self.config.bfd.map(|_| self.liveness()),
            ..speaker::Options::default()
        };
        let handle = speaker::spawn_with(config, options).context("starting the BGP speaker")?;
        let events = handle
            .take_events()
            .context("the BGP speaker's events are taken")?;
        let to_loop = self.to_loop.clone();
        let forward = move || {
            for event in events {
                let event = match event {
                    speaker::Event::Routes(changes) => Event::Routes(changes),
                    speaker::Event::Peer(event) => Event::Peer(event),
                    speaker::Event::Notice(notice) => Event::Say(true, notice.to_string()),
                    speaker::Event::InSync => Event::BgpInSync,
                    speaker::Event::ListenFailed { address, error } => {
                        Event::ListenFailed(address, error)
                    }
                };
                if !to_loop.send(event) {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("bgp-events".to_string())
            .spawn(forward)?;
        let handle = Arc::new(handle);
        let _ = self.report.send(Told::Speaker(Arc::clone(&handle)));
        *speaker = Some(handle);
        Ok(())
    }

    fn liveness(&self) -> liveness::Launch {
        let socket = self.config.paths.run.join(LIVENESS_SOCKET);
        match &self.config.liveness_command {
            None => liveness::Launch::own(socket),
            Some(command) => {
                let mut command = command.clone();
                command.push(socket.clone().into_os_string());
                liveness::Launch {
                    command,
                    ..liveness::Launch::own(socket)
                }
            }
        }
    }

    fn health_path(&self) -> std::path::PathBuf {
        self.config.paths.run.join(HEALTH_FILE)
    }

    fn write_health(&mut self) {
        // The speaker says each failure again; one that it no longer says is over.
        self.listen_errors
            .retain(|_, said| said.elapsed() < LISTEN_ERROR_LASTS);
        let health = self.node.health();
        let mut refused = health.refused.clone();
        refused.extend(self.store_error.iter().chain(&self.tunnel_error).cloned());
        refused.extend(self.listen_errors.keys().cloned());
        refused.extend(self.missing.iter().cloned());
        let ready = health.ready() && self.store_error.is_none();
        if ready && !self.told_up {
            let _ = self.report.send(Told::Ready);
            self.told_up = true;
        }
        let text = HealthFile {
            node: &self.config.name,
            pid: std::process::id(),
            ready,
            store: health.store_in_sync && self.store_error.is_none(),
            bgp: health.bgp_in_sync,
            adopted: health.adopted,
            kernel: health.kernel_in_sync,
            refused: &refused,
        }
        .text();
        if text == self.health {
            return;
        }
        // A full disk must not stop routing; what reads the file sees its age.
        if let Err(error) = write_whole(&self.health_path(), &text) {
            tracing::debug!("{error:#}");
        }
        self.health = text;
    }
}

fn say(notice: &Notice) {
    match notice {
        Notice::Refused(text) => tracing::warn!("{text}"),
        Notice::Passing(text) => tracing::debug!("{text}"),
        Notice::Mended(text) => {
            let what = text.split(". ").next().unwrap_or(text);
            tracing::info!("no longer: {what}");
        }
        Notice::Step(text) => tracing::info!("{text}"),
    }
}

/// Up and down are news; the steps between are for those who look for them.
fn say_peer(event: &bgp::PeerEvent) {
    if event.state == bgp::PeerState::Established {
        tracing::info!("{} is established", event.peer);
    } else if event.error.is_empty() {
        tracing::debug!("{} is {}", event.peer, event.state);
    } else {
        tracing::debug!("{} is {}: {}", event.peer, event.state, event.error);
    }
}

/// In the runtime directory: the socket of the process that drives BFD.
pub const LIVENESS_SOCKET: &str = "selvedge.liveness";

/// In the runtime directory: how far the agent is, as JSON.
pub const HEALTH_FILE: &str = "health.json";
