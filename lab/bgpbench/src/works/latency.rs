//! One prefix crossing the speaker: while all is quiet, and while another peer's table crosses too. That peer withdraws
//! its table and tells it again, so that fast speakers are under load for as many probes as slow ones.

use super::*;

/// Single prefixes at the most; one each `EVERY` while the table crosses.
const PROBES: usize = 4000;
const QUIET: usize = 100;
/// Under load, at the least: two of them are above the 99th percentile.
const LOADED: usize = 200;
const EVERY: Duration = Duration::from_millis(10);

pub(super) const WORK: Work = Work {
    name: "latency",
    what: |sizes| {
        format!(
            "one prefix crossing; under load: while {} others do, again and again",
            sizes.prefixes / 2
        )
    },
    measures: &[
        measure("quiet, p50", "ms", Goal::TimesBest(1.5, 1.0)),
        measure("quiet, p99", "ms", Goal::None),
        measure("under load, p50", "ms", Goal::None),
        measure("under load, p99", "ms", Goal::TimesBest(1.5, 1.0)),
        measure("the load's first crossing", "s", Goal::None),
        measure("crossings of the load", "", Goal::None),
    ],
    run,
};

fn run(speaker: &Speaker, sizes: &Sizes) -> Result<Bench> {
    let count = sizes.prefixes / 2;
    let mut table = Table::internet(count);
    let from = sender(1);
    let all: Rc<[u8]> = table
        .announcements(&table.groups, from.asn, from.address, 0)
        .into();
    let mut gone = Vec::new();
    message::withdraw(&mut gone, &table.prefixes);
    let probes = table.add_hosts(PROBES);
    let peers = vec![from, sender(2), receiver(1)];
    Bench::run(speaker, setup(), table, peers, |bench| {
        bench.peers.probes_at = probes.start;
        bench.peers.probes = vec![None; PROBES];
        bench.settle(&[2, 1, 0])?;
        let mut sent = Vec::with_capacity(PROBES);
        for _ in 0..QUIET {
            probe(bench, &mut sent)?;
            bench.peers.idle(EVERY * 2)?;
        }
        let mut quiet = waits(bench, &sent, 0)?;
        bench.put("quiet, p50", percentile(&mut quiet, 0.5));
        bench.put("quiet, p99", percentile(&mut quiet, 0.99));

        load(bench, (&all, &gone.into()), count, &mut sent)?;
        let mut load = waits(bench, &sent, QUIET)?;
        bench.put("under load, p50", percentile(&mut load, 0.5));
        bench.put("under load, p99", percentile(&mut load, 0.99));
        Ok(())
    })
}

/// Sends single prefixes while the table crosses, as often as it takes for enough of them. Between two crossings the
/// table is withdrawn, and none is sent.
fn load(
    bench: &mut Bench,
    (all, gone): (&Rc<[u8]>, &Rc<[u8]>),
    count: usize,
    sent: &mut Vec<Instant>,
) -> Result<()> {
    // Those of the table that the receiver has.
    let crossed = |peers: &Peers| peers.sessions[2].count - peers.probes.iter().flatten().count();
    let (mut crossings, mut first) = (0, None);
    while sent.len() < QUIET + LOADED {
        let started = Instant::now();
        let mut next = started;
        bench.peers.say(0, Rc::clone(all));
        crossings += 1;
        while crossed(&bench.peers) < count {
            let has = crossed(&bench.peers);
            ensure!(started.elapsed() < LIMIT, "the load: {has} of {count}");
            if Instant::now() >= next && sent.len() < PROBES {
                probe(bench, sent)?;
                next += EVERY;
            }
            bench.peers.idle(EVERY / 10)?;
        }
        first.get_or_insert(seconds(started));
        bench.peers.say(0, Rc::clone(gone));
        bench.until("the load withdrawn", |peers| crossed(peers) == 0)?;
    }
    bench.put("the load's first crossing", first.unwrap_or_default());
    bench.put("crossings of the load", f64::from(crossings));
    Ok(())
}

/// Sends the next single prefix and notes when.
fn probe(bench: &mut Bench, sent: &mut Vec<Instant>) -> Result<()> {
    let index = bench.peers.probes_at + sent.len();
    let prefix = bench
        .peers
        .table
        .prefixes
        .get(index)
        .context("more probes than there are prefixes for them")?;
    let from = &bench.peers.sessions[1].peer;
    let attributes = message::Attributes {
        as_path: vec![from.asn, 64_999],
        ..message::Attributes::default()
    };
    let mut out = Vec::new();
    message::announce(&mut out, &attributes, from.address, &[*prefix]);
    sent.push(Instant::now());
    bench.peers.say(1, out.into());
    Ok(())
}

/// How long each from the first on took to arrive, in milliseconds.
fn waits(bench: &mut Bench, sent: &[Instant], first: usize) -> Result<Vec<f64>> {
    let count = sent.len();
    bench.until("single prefixes", |peers| {
        peers.probes[..count].iter().all(Option::is_some)
    })?;
    let arrivals = bench.peers.probes[first..count].iter().flatten();
    let wait = |(sent, arrived): (&Instant, &Instant)| (*arrived - *sent).as_secs_f64() * 1e3;
    Ok(sent[first..].iter().zip(arrivals).map(wait).collect())
}
