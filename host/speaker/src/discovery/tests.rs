use super::*;

const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xb);

fn link(index: u32, running: bool) -> LinkState {
    LinkState {
        index,
        running,
        carrier_losses: 0,
        link_layer: None,
    }
}

fn at(address: Ipv6Addr, scope: u32) -> Neighbor {
    Neighbor::At { address, scope }
}

struct World {
    machine: Discovery,
    now: Duration,
    /// When what was sent.
    sent: Vec<(Duration, &'static str)>,
    told: Vec<Neighbor>,
    named: Vec<Ipv6Addr>,
    joined: Vec<u32>,
    /// It answers solicitations.
    answers: Vec<Ipv6Addr>,
    is_up: bool,
}

impl World {
    fn new() -> Self {
        let mut world = World {
            machine: Discovery::new(1),
            now: Duration::ZERO,
            sent: Vec::new(),
            told: Vec::new(),
            named: Vec::new(),
            joined: Vec::new(),
            answers: Vec::new(),
            is_up: false,
        };
        world.machine.want(&["c0".into()]);
        world.act();
        world
    }

    fn with_link() -> Self {
        let mut world = World::new();
        world.link(Some(link(7, true)));
        world.told.clear();
        world
    }

    fn link(&mut self, link: Option<LinkState>) {
        self.machine.link("c0", link, self.now);
        self.act();
    }

    fn hear(&mut self, source: Ipv6Addr) {
        let is_up = self.is_up;
        self.machine.advertised(7, source, self.now, |_| is_up);
        self.act();
    }

    fn act(&mut self) {
        while let Some(act) = self.machine.poll() {
            match act {
                Act::Join(link) => self.joined.push(link.index),
                Act::Advertise(_) => self.sent.push((self.now, "RA")),
                Act::Solicit(_) => {
                    self.sent.push((self.now, "RS"));
                    for source in self.answers.clone() {
                        let is_up = self.is_up;
                        self.machine.advertised(7, source, self.now, |_| is_up);
                    }
                }
                Act::Tell(_, neighbor) => self.told.push(neighbor),
                Act::Another { source, .. } => self.named.push(source),
            }
        }
    }

    fn wait(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.machine.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.machine.timer(self.now);
            self.act();
        }
        self.now = end;
    }

    /// When this was sent.
    fn times(&self, what: &str) -> Vec<Duration> {
        let these = self.sent.iter().filter(|(_, kind)| *kind == what);
        these.map(|(at, _)| *at).collect()
    }
}

#[test]
fn advertisements_come_quickly_at_first_and_never_too_often() {
    let mut world = World::with_link();
    world.wait(600);
    let times = world.times("RA");
    let seconds = |n| Duration::from_secs(n);
    assert_eq!(times[..3], [seconds(0), seconds(3), seconds(6)]);
    let gaps = || times.windows(2).skip(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps().all(|gap| gap >= ADVERTISE.0 && gap <= ADVERTISE.1));
    assert!(gaps().collect::<BTreeSet<_>>().len() > 20, "jitter");
    assert_eq!(world.times("RS"), [seconds(0), seconds(4), seconds(8)]);
    // A solicitation is answered, but not within three seconds of the last advertisement.
    world.sent.clear();
    let before = world.now;
    for _ in 0..40 {
        world.machine.solicited(7, world.now);
        world.wait(1);
    }
    let times = world.times("RA");
    let gaps = || times.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps().all(|gap| gap >= BETWEEN), "{times:?}");
    assert!(
        times.len() >= 11 && times[0] < before + seconds(4),
        "{times:?}"
    );
    // The control: on another interface nothing is asked for.
    world.machine.solicited(8, world.now);
    world.sent.clear();
    world.wait(40);
    assert!(world.times("RA").len() < 11);
}

#[test]
fn interfaces_come_and_go() {
    let mut world = World::new();
    assert_eq!(world.told, [Neighbor::NoInterface]);
    world.wait(60);
    assert_eq!(world.sent, []);
    world.link(Some(link(7, false)));
    world.hear(A);
    world.link(Some(link(7, true)));
    assert_eq!(world.told[1..], [at(A, 7)], "who is heard is there");
    world.link(None);
    world.link(Some(link(9, true)));
    world.hear(A);
    assert_eq!(
        world.told[2..],
        [Neighbor::NoInterface, Neighbor::Awaited],
        "what is heard by another index is nothing"
    );
    world.machine.advertised(9, A, world.now, |_| false);
    world.act();
    assert_eq!(world.told[4..], [at(A, 9)]);
    assert_eq!(world.joined, [7, 9]);
    // All is told again when it is asked for again.
    world.told.clear();
    world.machine.want(&["c0".into()]);
    world.act();
    assert_eq!(world.told, [at(A, 9)]);
    world.machine.want(&[]);
    world.act();
    world.machine.want(&["c0".into()]);
    world.act();
    assert_eq!(world.told[1..], [Neighbor::NoInterface], "forgotten");
}

#[test]
fn without_a_socket_who_connects_is_found() {
    let mut world = World::with_link();
    world.machine.set_refused(true);
    world.act();
    world.machine.connected(8, A, world.now);
    world.machine.connected(7, A, world.now);
    world.act();
    assert_eq!(world.told, [Neighbor::Refused, at(A, 7)]);
    world.machine.connected(7, B, world.now);
    world.act();
    assert_eq!((world.told.len(), &world.named[..]), (2, &[B][..]));
}

#[test]
fn the_first_one_counts_as_long_as_it_is_there() {
    for is_up in [false, true] {
        let mut world = World::with_link();
        world.is_up = is_up;
        world.hear(A);
        world.hear(B);
        world.hear(B);
        assert_eq!(
            (&world.told[..], &world.named[..]),
            (&[at(A, 7)][..], &[B][..])
        );
        // A advertises seldom, and answers.
        world.answers = vec![A, B];
        for _ in 0..100 {
            world.hear(B);
            world.wait(10);
        }
        assert_eq!((world.told.len(), world.named.len()), (1, 1));
        // It went: it answers no more.
        world.answers = vec![B];
        let went = world.now;
        while world.told.len() == 1 {
            world.wait(10);
            world.hear(B);
            assert!(world.now < went + Duration::from_secs(120), "given up");
        }
        assert_eq!(world.told[1..], [at(B, 7)]);
        assert!(world.now >= went + SILENCE);
        world.hear(A);
        assert_eq!(world.named, [B, A]);
        // However many there are, few are named.
        for last in 0..1000 {
            world.hear(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, last));
        }
        assert_eq!(world.named.len(), 1 + NAMED);
    }
}

#[test]
fn who_never_advertises_is_there_as_long_as_its_session() {
    let mut world = World::with_link();
    world.machine.connected(7, A, world.now);
    world.act();
    world.is_up = true;
    for _ in 0..100 {
        world.hear(B);
        world.wait(10);
    }
    assert_eq!(world.told, [at(A, 7)]);
    world.is_up = false;
    for _ in 0..10 {
        world.hear(B);
        world.wait(10);
    }
    assert_eq!(world.told, [at(A, 7), at(B, 7)]);
}

#[test]
fn another_machine_on_the_cable() {
    let mut world = World::with_link();
    world.is_up = true;
    world.hear(A);
    world.wait(60);
    world.sent.clear();
    world.link(Some(link(7, false)));
    world.wait(60);
    assert_eq!(world.sent, [], "nothing is sent while the link is down");
    world.link(Some(link(7, true)));
    world.wait(1);
    assert_eq!((world.times("RA").len(), world.times("RS").len()), (1, 1));
    assert_eq!(world.told, [at(A, 7)], "it may be the same one");
    world.hear(B);
    assert_eq!(world.told, [at(A, 7), at(B, 7)]);
    // So quickly that nobody saw it.
    let quick = LinkState {
        carrier_losses: 1,
        ..link(7, true)
    };
    world.link(Some(quick));
    world.hear(A);
    assert_eq!(world.told[2..], [at(A, 7)]);
    world.link(Some(quick));
    world.hear(B);
    assert_eq!(world.told.len(), 3, "control: it is as it was");
    world.link(Some(link(7, true)));
    world.hear(B);
    world.told.truncate(2);
    // The control: when the first one comes first, it stays.
    world.link(Some(link(7, false)));
    world.link(Some(link(7, true)));
    world.hear(B);
    world.hear(A);
    assert_eq!(world.told.len(), 2);
}

#[test]
fn what_cannot_be_sent_is_tried_again() {
    let mut world = World::with_link();
    world.machine.timer(world.now);
    for _ in 0..2 {
        let act = world.machine.poll().expect("both are due");
        world.machine.failed(&act, world.now);
    }
    world.wait(1);
    assert_eq!((world.times("RA").len(), world.times("RS").len()), (1, 1));
    world.wait(8);
    assert_eq!((world.times("RA").len(), world.times("RS").len()), (3, 3));
}
