//! The world: hosts on segments, one store, and events in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp::Speaker;
use dataplane::{Actual, Batch, Operation};
use node::{BatchId, Input, Now, Output, Recorded, StoredChange};
use resource::{Key, KeyPrefix, MemoryStore, Store};

use crate::bug::Bug;
use crate::check::Violation;
use crate::cluster::{Allocated, SimPod};
use crate::endpoints::Kept;
use crate::host::Host;
use crate::process::Process;
use crate::queue::Queue;
use crate::random::Random;
use crate::tasks::{TaskId, Tasks, now_or_never};
use crate::tcp::{Connections, Direction, Segment, TcpId};

/// Virtual time begins here: 2026-01-01T00:00:00Z.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// A world in which more than this happens does not come to rest; runs without a bug have some ten thousand.
const MOST_EVENTS: u64 = 100_000;

/// What will happen.
#[derive(Debug)]
pub enum Event {
    /// An agent's machines asked to be called.
    Timer { host: String, incarnation: u64 },
    /// A segment may have arrived.
    Segment {
        tcp: TcpId,
        direction: Direction,
        since: Duration,
    },
    /// An agent hears that the store may have changed.
    Watch { host: String, incarnation: u64 },
    /// The kernel has done a batch.
    Apply {
        host: String,
        incarnation: u64,
        id: BatchId,
        batch: Box<Batch>,
    },
    /// The kernel was read.
    ReadKernel { host: String, incarnation: u64 },
    /// The kernel says that something changed.
    KernelChanged { host: String, incarnation: u64 },
    /// An agent starts.
    Start { host: String },
    /// A task over the store goes on to its next call.
    Task { task: TaskId },
}

/// All there is.
pub struct World {
    /// Virtual time.
    pub queue: Queue<Event>,
    /// Chance.
    pub random: Random,
    /// The one store.
    pub store: MemoryStore,
    /// Machines by name.
    pub hosts: BTreeMap<String, Host>,
    /// TCP.
    pub connections: Connections,
    /// Pods by `NAMESPACE/NAME`.
    pub pods: BTreeMap<String, SimPod>,
    /// Services whose slices follow the pods.
    pub kept: Vec<Kept>,
    /// Allocations under way.
    pub tasks: Tasks<Allocated>,
    /// The planted bug.
    pub bug: Option<Bug>,
    /// What happened, a line each; its digest tells runs apart.
    pub journal: Vec<String>,
    /// While set, the resources are at rest: an agent that then removes something is wrong.
    pub at_rest: bool,
    /// What was found wrong on the way.
    pub violations: Vec<Violation>,
    /// What an agent's kernel pretends to have, where a bug makes it lie.
    believed: BTreeMap<String, Actual>,
    told: u64,
    events: u64,
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, bug: Option<Bug>) -> World {
        World {
            queue: Queue::default(),
            random: Random::new(seed),
            store: MemoryStore::new(),
            hosts: BTreeMap::new(),
            connections: Connections::default(),
            pods: BTreeMap::new(),
            kept: Vec::new(),
            tasks: Tasks::default(),
            bug,
            journal: Vec::new(),
            at_rest: false,
            violations: Vec::new(),
            believed: BTreeMap::new(),
            told: 0,
            events: 0,
        }
    }

    /// The present, for machines.
    pub fn now(&self) -> Now {
        Now {
            mono: self.queue.now(),
            wall: EPOCH + self.queue.now(),
        }
    }

    /// Unix nanoseconds, for IPAM.
    pub fn unix_nanos(&self) -> u64 {
        u64::try_from(self.now().wall.as_nanos()).expect("before the year 2554")
    }

    /// Writes a line of what happened.
    pub fn note(&mut self, text: impl std::fmt::Display) {
        let at = self.queue.now();
        self.journal
            .push(format!("{:>12.6} {text}", at.as_secs_f64()));
    }

    pub(crate) fn soon(&mut self, low_us: u64, high_us: u64, event: Event) {
        let delay = self.random.between(
            Duration::from_micros(low_us),
            Duration::from_micros(high_us),
        );
        self.queue.after(delay, &mut self.random, event);
    }

    /// Lets virtual time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.queue.now() + duration;
        while self.events < MOST_EVENTS
            && let Some(event) = self.queue.next(until)
        {
            self.events += 1;
            self.happen(event);
        }
        if self.events == MOST_EVENTS {
            self.events += 1;
            let text = format!("{MOST_EVENTS} events, and no quiet");
            self.violations.push(Violation::new("comes-to-rest", text));
        }
        self.queue.advance(until);
    }

    /// Starts the agent of a host.
    pub fn start(&mut self, host: &str) {
        self.soon(
            1_000,
            50_000,
            Event::Start {
                host: host.to_string(),
            },
        );
    }

    /// Ends the agent of a host: by SIGTERM, which lets it stop in order, or by SIGKILL.
    pub fn stop(&mut self, host: &str, orderly: bool) {
        let now = self.now();
        let Some(mut process) = self.hosts.get_mut(host).and_then(|h| h.process.take()) else {
            return;
        };
        self.note(format_args!(
            "{host}: agent {}",
            if orderly { "stops" } else { "is killed" }
        ));
        if orderly {
            if let Some(speaker) = process.speaker.as_mut() {
                speaker.handle(
                    bgp::Input::Stop {
                        cease: false,
                        text: "",
                    },
                    now,
                );
            }
            while let Some(output) = process
                .speaker
                .as_mut()
                .and_then(|speaker| speaker.poll(now))
            {
                match output {
                    bgp::Output::Send(conn) => self.pull(host, &mut process, conn),
                    bgp::Output::Close { conn, last } => self.close(host, &process, conn, &last),
                    _ => {}
                }
            }
        }
        for (tcp, direction) in self.connections.of_host(host) {
            self.transmit(tcp, direction, Segment::Fin);
            if let Some(tcp) = self.connections.get(tcp) {
                tcp.to(direction.reverse()).conn = None;
            }
        }
        self.connections.sweep();
    }

    /// Tells agents that the store has moved on, if it has.
    pub fn announce_store(&mut self) {
        let revision = self.store.revision();
        if revision == self.told {
            return;
        }
        self.told = revision;
        for (host, incarnation) in self.agents() {
            self.soon(100, 20_000, Event::Watch { host, incarnation });
        }
    }

    /// Tells a host's agent that somebody changed its kernel.
    pub fn disturb(&mut self, host: &str) {
        if self.bug == Some(Bug::IgnoresDrift) {
            return;
        }
        if let Some(incarnation) = self
            .hosts
            .get(host)
            .and_then(|h| h.process.as_ref())
            .map(|p| p.incarnation)
        {
            self.soon(
                100,
                5_000,
                Event::KernelChanged {
                    host: host.to_string(),
                    incarnation,
                },
            );
        }
    }

    /// The running agents.
    pub fn agents(&self) -> Vec<(String, u64)> {
        let running = |(name, host): (&String, &Host)| {
            Some((name.clone(), host.process.as_ref()?.incarnation))
        };
        self.hosts.iter().filter_map(running).collect()
    }

    /// Whether two hosts' cables join them, directly or by one host that forwards between two segments.
    pub fn joined(&self, a: &str, b: &str) -> bool {
        let lans = |name: &str| -> BTreeSet<&str> {
            let Some(host) = self.hosts.get(name).filter(|host| host.powered) else {
                return BTreeSet::new();
            };
            host.ports
                .values()
                .filter(|port| port.plugged)
                .map(|port| port.lan.as_str())
                .collect()
        };
        let (of_a, of_b) = (lans(a), lans(b));
        let direct = !of_a.is_disjoint(&of_b);
        direct
            || self.hosts.keys().any(|router| {
                let between = lans(router);
                !between.is_disjoint(&of_a) && !between.is_disjoint(&of_b)
            })
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { host } => self.started(&host),
            Event::Task { task } => self.step_task(task),
            Event::Segment {
                tcp,
                direction,
                since,
            } => self.arrive(tcp, direction, since),
            Event::Timer { host, incarnation } => {
                let now = self.now();
                self.with(&host, incarnation, |world, process| {
                    process.timer = None;
                    if let Some(speaker) = process.speaker.as_mut() {
                        speaker.handle(bgp::Input::Timer, now);
                    }
                    world.feed(&host, process, Input::Timer);
                });
            }
            Event::Watch { host, incarnation } => {
                self.with(&host, incarnation, |world, process| {
                    world.read_store(&host, process)
                });
            }
            Event::Apply {
                host,
                incarnation,
                id,
                batch,
            } => self.applied(&host, incarnation, id, &batch),
            Event::ReadKernel { host, incarnation } => {
                let actual = self.kernel_as_seen(&host);
                self.with(&host, incarnation, |world, process| {
                    let input = Input::Kernel {
                        actual: Box::new(actual),
                        ipip_possible: false,
                    };
                    world.feed(&host, process, input);
                });
            }
            Event::KernelChanged { host, incarnation } => {
                self.with(&host, incarnation, |world, process| {
                    world.feed(&host, process, Input::KernelChanged)
                });
            }
        }
        self.announce_store();
    }

    /// Lends a running agent out; whatever its machines ask for then is done.
    pub(crate) fn with(
        &mut self,
        host: &str,
        incarnation: u64,
        act: impl FnOnce(&mut World, &mut Process),
    ) {
        let Some(place) = self.hosts.get_mut(host).filter(|h| h.powered) else {
            return;
        };
        let Some(mut process) = place.process.take_if(|p| p.incarnation == incarnation) else {
            return;
        };
        act(self, &mut process);
        self.drive_speaker(host, &mut process);
        let deadline = process.next_deadline();
        if let Some(at) = deadline.filter(|at| process.timer.is_none_or(|timer| *at < timer)) {
            process.timer = Some(at);
            let event = Event::Timer {
                host: host.to_string(),
                incarnation,
            };
            self.queue.at(at, &mut self.random, event);
        }
        if let Some(place) = self.hosts.get_mut(host) {
            place.process = Some(process);
        }
    }

    fn started(&mut self, name: &str) {
        let Some(host) = self
            .hosts
            .get_mut(name)
            .filter(|host| host.powered && host.process.is_none())
        else {
            return;
        };
        host.incarnation += 1;
        let incarnation = host.incarnation;
        host.process = Some(Process::new(name, incarnation));
        self.believed.remove(name);
        self.note(format_args!("{name}: agent starts"));
        self.with(name, incarnation, |world, process| {
            if world.bug == Some(Bug::RemovesFoundRoutes) {
                let node = world.stored().into_iter().filter(|change| {
                    !change.path.contains("/ipam/") && !change.path.contains("workloadendpoints")
                });
                let node = node.collect();
                world.feed(name, process, Input::Listing(node));
            }
            world.feed(name, process, Input::Timer);
            if world.bug == Some(Bug::DeletesBeforeInSync) {
                world.feed(name, process, Input::BgpInSync);
            }
        });
        self.soon(
            500,
            20_000,
            Event::Watch {
                host: name.to_string(),
                incarnation,
            },
        );
    }

    fn stored(&self) -> Vec<StoredChange> {
        now_or_never(self.store.list(&KeyPrefix::All))
            .map(|listing| StoredChange::from_listing(&listing))
            .unwrap_or_default()
    }

    fn read_store(&mut self, host: &str, process: &mut Process) {
        let Some(cursor) = process.cursor else {
            process.cursor = Some(self.store.revision());
            let listing = self
                .stored()
                .into_iter()
                .flat_map(|change| self.as_read(change))
                .collect();
            self.feed(host, process, Input::Listing(listing));
            return;
        };
        let Ok(read) = now_or_never(self.store.changes(cursor)) else {
            return;
        };
        let mut changes: Vec<StoredChange> = read.changes.iter().map(StoredChange::from).collect();
        process.cursor = Some(read.revision);
        if self.bug == Some(Bug::MissesLastChange) && changes.pop().is_some() {
            process.cursor = Some(read.revision - 1);
        }
        if self.bug == Some(Bug::KeepsDeadBackends) {
            changes.retain(|change| !change.path.contains("/endpointslices/"));
        }
        let changes: Vec<StoredChange> = changes
            .into_iter()
            .flat_map(|change| self.as_read(change))
            .collect();
        if !changes.is_empty() {
            self.feed(host, process, Input::Changes(changes));
        }
    }

    /// As a planner with the planted bug reads it: a pending affinity is confirmed, and its block is the claimant's.
    fn as_read(&self, mut change: StoredChange) -> Vec<StoredChange> {
        let pending = change
            .value
            .as_ref()
            .is_some_and(|value| value.contains("\"pending\""));
        if self.bug != Some(Bug::ActsOnPendingAffinity) || !pending {
            return vec![change];
        }
        let Some(Key::BlockAffinity { host, cidr }) = Key::from_path(&change.path) else {
            return vec![change];
        };
        change.value = change
            .value
            .map(|value| value.replace("\"pending\"", "\"confirmed\""));
        let block = ipam::block::new(cidr, &host, self.unix_nanos());
        let value = serde_json::to_string(&block).ok();
        let block = StoredChange {
            path: Key::Block(cidr).path(),
            value,
            revision: change.revision,
        };
        vec![block, change]
    }

    /// Gives the planner an input and does at once what it asks for.
    pub(crate) fn feed(&mut self, host: &str, process: &mut Process, input: Input) {
        let recorded = Recorded::new(input, self.now());
        let now = recorded.now();
        process.node.handle(recorded.input.clone(), now);
        process.recording.push(recorded);
        while let Some(output) = process.node.poll(now) {
            process.outputs.push(format!("{output:?}"));
            self.planner_asks(host, process, output);
        }
    }

    fn planner_asks(&mut self, host: &str, process: &mut Process, output: Output) {
        let (name, incarnation) = (host.to_string(), process.incarnation);
        match output {
            Output::Speaker(config) => {
                let now = self.now();
                let config = Box::new(config.config);
                match process.speaker.as_mut() {
                    Some(speaker) => speaker.handle(bgp::Input::Configure(config), now),
                    None => {
                        let seed = self.random.bits();
                        let mut speaker = Speaker::new(*config, seed, now);
                        speaker.handle(bgp::Input::Timer, now);
                        process.speaker = Some(speaker);
                    }
                }
            }
            Output::ReadKernel => self.soon(
                200,
                3_000,
                Event::ReadKernel {
                    host: name,
                    incarnation,
                },
            ),
            Output::Apply { id, batch } => {
                let most = if batch.lane == dataplane::Lane::Rules {
                    500_000
                } else {
                    3_000
                };
                self.soon(
                    100,
                    most,
                    Event::Apply {
                        host: name,
                        incarnation,
                        id,
                        batch: Box::new(batch),
                    },
                );
            }
            Output::Names(names) => {
                let reverse = names.reverse.iter().copied().collect();
                let config = dns::ZoneConfig {
                    domain: names.domain,
                    reverse,
                    ..dns::ZoneConfig::default()
                };
                process.names = dns::Zone::build(&config, &names.table)
                    .ok()
                    .map(dns::Server::new);
                process.names_at = names.addresses;
            }
            // The kernel here makes no IPIP devices, so the address would never be used.
            Output::TunnelAddress { .. } | Output::PodMtu(_) | Output::LogSeverity(_) => {}
            Output::Notice(notice) => self.note(format_args!("{host}: {notice:?}")),
        }
    }

    fn applied(&mut self, name: &str, incarnation: u64, id: BatchId, batch: &Batch) {
        let bug = self.bug;
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.powered) else {
            return;
        };
        let lost = |operation: &Operation| match (bug, operation) {
            (Some(Bug::NothingBeneathRanges), Operation::SetRoute(route)) => route.metric != 0,
            (Some(Bug::LeavesRedirectsOn), Operation::SetSysctl(sysctl)) => {
                sysctl.path.ends_with("send_redirects")
            }
            _ => false,
        };
        if bug.is_some() {
            let believed = self
                .believed
                .entry(name.to_string())
                .or_insert_with(|| host.kernel.clone());
            dataplane::apply(believed, batch);
        }
        let mut done = batch.clone();
        done.operations.retain(|operation| !lost(operation));
        dataplane::apply(&mut host.kernel, &done);
        for operation in &batch.operations {
            let text = operation.to_string();
            let removes = match operation {
                Operation::RemoveAddress(_)
                | Operation::RemoveRoute(_)
                | Operation::RemoveNeighbour(_) => true,
                Operation::SetLink(_)
                | Operation::AddAddress(_)
                | Operation::SetSysctl(_)
                | Operation::SetRoute(_)
                | Operation::SetNeighbour(_)
                | Operation::Nft(_) => false,
            };
            if removes && self.at_rest {
                let at_rest = "restart-changes-nothing";
                self.violations.push(Violation::new(
                    at_rest,
                    format!("{name}: {text} while nothing was asked for"),
                ));
            }
            self.note(format_args!("{name}: {text}"));
        }
        self.with(name, incarnation, |world, process| {
            world.feed(
                name,
                process,
                Input::Applied {
                    id,
                    failures: Vec::new(),
                },
            );
        });
        // The kernel tells of our own changes too.
        self.soon(
            50,
            500,
            Event::KernelChanged {
                host: name.to_string(),
                incarnation,
            },
        );
    }

    fn kernel_as_seen(&self, name: &str) -> Actual {
        let lies = matches!(
            self.bug,
            Some(Bug::IgnoresDrift | Bug::NothingBeneathRanges | Bug::LeavesRedirectsOn)
        );
        let believed = self.believed.get(name).filter(|_| lies).cloned();
        believed
            .or_else(|| self.hosts.get(name).map(|host| host.kernel.clone()))
            .unwrap_or_default()
    }
}
