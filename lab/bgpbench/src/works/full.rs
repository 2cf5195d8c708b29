//! A full table: one peer in, one peer out; then one more out, a tenth of it away and back, and the sender gone.

use super::*;

pub(super) const WORK: Work = Work {
    name: "full",
    what: |sizes| {
        format!(
            "{} prefixes, ten to a set of attributes, one peer in, one out",
            sizes.prefixes
        )
    },
    measures: &[
        measure(
            "until the receiver has all",
            "s",
            Goal::Times("bird", 0.5, 0.3),
        ),
        measure("CPU for it", "s", Goal::Times("bird", 0.5, 0.3)),
        measure("resident memory then", "MiB", Goal::Times("bird", 0.6, 0.4)),
        measure(
            "a second receiver joins",
            "s",
            Goal::Times("openbgpd", 0.1, 0.05),
        ),
        measure("CPU for the join", "s", Goal::None),
        measure("10 % withdrawn", "s", Goal::Times("bird", 0.8, 0.5)),
        measure("10 % announced again", "s", Goal::Times("bird", 0.8, 0.5)),
        measure(
            "sender drops, all withdrawn",
            "s",
            Goal::Times("bird", 0.5, 0.25),
        ),
        measure("CPU for the drop", "s", Goal::None),
        measure("harness CPU while loading", "s", Goal::None),
        measure("UPDATEs to the receiver", "", Goal::None),
    ],
    run,
};

fn run(speaker: &Speaker, sizes: &Sizes) -> Result<Bench> {
    let count = sizes.prefixes;
    let table = Table::internet(count);
    let from = sender(1);
    let all = table.announcements(&table.groups, from.asn, from.address, 0);
    let tenth = &table.groups[..table.groups.len() / 10];
    let few: usize = tenth.iter().map(|group| group.at.len()).sum();
    let again = table.announcements(tenth, from.asn, from.address, 0);
    let away = table.withdrawals(tenth);
    let peers = vec![from, receiver(1), receiver(2)];
    Bench::run(speaker, setup(), table, peers, |bench| {
        bench.settle(&[1, 0])?;
        load(bench, count, all.into())?;
        join(bench, count)?;
        churn(bench, (count, count - few), away.into(), again.into())?;
        drop_sender(bench)
    })
}

fn load(bench: &mut Bench, count: usize, all: Rc<[u8]>) -> Result<()> {
    let (started, before, own) = (Instant::now(), bench.dut.cpu(), crate::machine::own_cpu());
    bench.peers.say(0, all);
    bench.until("the table at the receiver", |peers| {
        peers.sessions[1].count == count
    })?;
    bench.put("until the receiver has all", seconds(started));
    bench.put("harness CPU while loading", crate::machine::own_cpu() - own);
    // Some go on working when the receiver has all.
    bench.peers.idle(SETTLE)?;
    bench.put("CPU for it", bench.dut.cpu() - before);
    bench.put("resident memory then", bench.dut.resident());
    bench.put("UPDATEs to the receiver", bench.peers.updates as f64);
    Ok(())
}

fn join(bench: &mut Bench, count: usize) -> Result<()> {
    let (started, before) = (Instant::now(), bench.dut.cpu());
    bench.peers.start(2);
    bench.until("the table at the second receiver", |peers| {
        peers.sessions[2].count == count
    })?;
    bench.put("a second receiver joins", seconds(started));
    bench.put("CPU for the join", bench.dut.cpu() - before);
    bench.peers.idle(SETTLE)
}

fn churn(
    bench: &mut Bench,
    (whole, rest): (usize, usize),
    away: Rc<[u8]>,
    again: Rc<[u8]>,
) -> Result<()> {
    let both = |count: usize| {
        move |peers: &Peers| peers.sessions[1].count == count && peers.sessions[2].count == count
    };
    let started = Instant::now();
    bench.peers.say(0, away);
    bench.until("a tenth withdrawn", both(rest))?;
    bench.put("10 % withdrawn", seconds(started));
    bench.peers.idle(SETTLE / 2)?;
    let started = Instant::now();
    bench.peers.say(0, again);
    bench.until("a tenth announced again", both(whole))?;
    bench.put("10 % announced again", seconds(started));
    bench.peers.idle(SETTLE / 2)
}

fn drop_sender(bench: &mut Bench) -> Result<()> {
    let (started, before) = (Instant::now(), bench.dut.cpu());
    bench.peers.cut(0);
    bench.until("all withdrawn", |peers| {
        peers.sessions[1].count == 0 && peers.sessions[2].count == 0
    })?;
    bench.put("sender drops, all withdrawn", seconds(started));
    bench.put("CPU for the drop", bench.dut.cpu() - before);
    Ok(())
}
