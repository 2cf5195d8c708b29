//! One prefix crossing the speaker: while all is quiet, and while another peer's table crosses too.

use super::*;

/// Single prefixes at the most; one each `EVERY` while the table crosses.
const PROBES: usize = 4000;
const QUIET: usize = 100;
const EVERY: Duration = Duration::from_millis(10);

pub(super) const WORK: Work = Work {
    name: "latency",
    what: |sizes| {
        format!(
            "one prefix crossing; under load: while {} others do",
            sizes.prefixes / 2
        )
    },
    measures: &[
        measure("quiet, p50", "ms", Goal::TimesBest(1.5, 1.0)),
        measure("quiet, p99", "ms", Goal::None),
        measure("under load, p50", "ms", Goal::None),
        measure("under load, p99", "ms", Goal::TimesBest(1.5, 1.0)),
        measure("the load itself", "s", Goal::None),
    ],
    run,
};

fn run(speaker: &Speaker, sizes: &Sizes) -> Result<Bench> {
    let count = sizes.prefixes / 2;
    let mut table = Table::internet(count);
    let from = sender(1);
    let all = table.announcements(&table.groups, from.asn, from.address, 0);
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

        let started = Instant::now();
        bench.peers.say(0, all.into());
        while bench.peers.sessions[2].count < count + sent.len() {
            ensure!(
                started.elapsed() < LIMIT,
                "the load: {} of {count}",
                bench.peers.sessions[2].count
            );
            if bench.peers.sessions[2].count < count {
                probe(bench, &mut sent)?;
            }
            bench.peers.idle(EVERY)?;
        }
        bench.put("the load itself", seconds(started));
        let mut load = waits(bench, &sent, QUIET)?;
        bench.put("under load, p50", percentile(&mut load, 0.5));
        bench.put("under load, p99", percentile(&mut load, 0.99));
        Ok(())
    })
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
