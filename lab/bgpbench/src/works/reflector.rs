//! A reflector's whole day: all clients come up and each tells its ten blocks; then one block more.

use super::*;

/// Blocks of each client.
const BLOCKS: usize = 10;
/// Single blocks that are added.
const ADDS: usize = 40;
/// Between them: longer than a delayed ACK, or a speaker without TCP_NODELAY would be measured waiting for it.
const GAP: Duration = Duration::from_millis(60);

pub(super) const WORK: Work = Work {
    name: "rr",
    what: |sizes| {
        format!(
            "reflector, {} clients with {BLOCKS} blocks each",
            sizes.clients
        )
    },
    measures: &[
        // RustyBGP, which the issue names here, is in no distribution: on the machine of its table it took 0.38 of
        // BIRD's time, so half and a quarter of that are 0.19 and 0.095.
        measure(
            "first connect until all have all",
            "s",
            Goal::Times("bird", 0.19, 0.095),
        ),
        measure("CPU for it", "s", Goal::Times("frr", 0.6, 0.3)),
        measure("resident memory then", "MiB", Goal::Times("bird", 2.0, 1.0)),
        measure(
            "one block more: all told, p50",
            "ms",
            Goal::Times("relay", 1.25, 1.1),
        ),
        measure("one block more: all told, p99", "ms", Goal::None),
        measure("CPU for one block more", "ms", Goal::None),
        measure("UPDATEs to all", "", Goal::None),
        measure("sessions lost on the way", "", Goal::None),
    ],
    run,
};

fn run(speaker: &Speaker, sizes: &Sizes) -> Result<Bench> {
    let clients = sizes.clients;
    let table = Table::blocks(clients * BLOCKS + ADDS, BLOCKS);
    let peers: Vec<Peer> = (1..=clients as u32).map(client).collect();
    let setup = Setup {
        reflector: true,
        ..setup()
    };
    Bench::run(speaker, setup, table, peers, |bench| {
        for id in 0..clients {
            let mut own = blocks(bench, id, id * BLOCKS..(id + 1) * BLOCKS);
            own.extend_from_slice(&end_of_rib());
            bench.peers.sessions[id].greeting = own.into();
        }
        bench.peers.idle(SETTLE)?;
        bench.begin();
        come_up(bench, clients)?;
        add(bench, clients)
    })
}

/// The announcement of some blocks by one client.
fn blocks(bench: &Bench, id: usize, which: std::ops::Range<usize>) -> Vec<u8> {
    let attributes = message::Attributes {
        local_pref: Some(100),
        ..message::Attributes::default()
    };
    let mut out = Vec::new();
    let next_hop = bench.peers.sessions[id].peer.address;
    message::announce(
        &mut out,
        &attributes,
        next_hop,
        &bench.peers.table.prefixes[which],
    );
    out
}

fn come_up(bench: &mut Bench, clients: usize) -> Result<()> {
    let (started, before) = (Instant::now(), bench.dut.cpu());
    bench.peers.reconnects = Some(0);
    // Some send a client its own blocks back, some do not: the others' are what counts.
    bench.peers.set_target((clients - 1) * BLOCKS);
    (0..clients).for_each(|id| bench.peers.start(id));
    bench.until("all blocks at all clients", |peers| {
        peers.complete == clients && peers.up == clients
    })?;
    bench.put("first connect until all have all", seconds(started));
    bench.peers.idle(SETTLE)?;
    bench.put("CPU for it", bench.dut.cpu() - before);
    bench.put("resident memory then", bench.dut.resident());
    bench.put("UPDATEs to all", bench.peers.updates as f64);
    let lost = bench.peers.reconnects.take().unwrap_or(0);
    bench.put("sessions lost on the way", f64::from(lost));
    Ok(())
}

fn add(bench: &mut Bench, clients: usize) -> Result<()> {
    let before = bench.dut.cpu();
    let mut told = Vec::with_capacity(ADDS);
    for i in 0..ADDS {
        let by = (i * 7919 + 13) % clients;
        let which = clients * BLOCKS + i;
        let one = blocks(bench, by, which..which + 1);
        bench.peers.watch.what = Some((which, by));
        bench.peers.watch.arrivals.clear();
        let started = Instant::now();
        bench.peers.say(by, one.into());
        bench.until("one block more", |peers| {
            peers.watch.arrivals.len() == clients - 1
        })?;
        told.push(seconds(started) * 1e3);
        bench.peers.idle(GAP)?;
    }
    bench.put("one block more: all told, p50", percentile(&mut told, 0.5));
    bench.put("one block more: all told, p99", percentile(&mut told, 0.99));
    bench.put(
        "CPU for one block more",
        (bench.dut.cpu() - before) * 1e3 / ADDS as f64,
    );
    Ok(())
}
