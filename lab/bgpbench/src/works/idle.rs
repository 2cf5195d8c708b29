//! A thousand sessions on which nothing happens but keepalives.

use super::*;

pub(super) const WORK: Work = Work {
    name: "idle",
    what: |sizes| {
        format!(
            "{} idle sessions, hold 90, over {} s",
            sizes.clients,
            sizes.idle.as_secs()
        )
    },
    measures: &[
        measure("CPU", "%", Goal::AtMost(0.1, 0.05)),
        measure("resident memory", "MiB", Goal::None),
    ],
    run,
};

fn run(speaker: &Speaker, sizes: &Sizes) -> Result<Bench> {
    let peers: Vec<Peer> = (1..=sizes.clients as u32).map(client).collect();
    let setup = Setup {
        reflector: true,
        ..setup()
    };
    let (clients, time) = (sizes.clients, sizes.idle);
    Bench::run(speaker, setup, Table::blocks(1, 1), peers, |bench| {
        bench.peers.reconnects = Some(0);
        (0..clients).for_each(|id| bench.peers.start(id));
        bench.until("all sessions", |peers| peers.up == clients)?;
        bench.peers.idle(SETTLE)?;
        bench.peers.reconnects = None;
        bench.begin();
        let (started, before) = (Instant::now(), bench.dut.cpu());
        bench.peers.idle(time)?;
        bench.put("CPU", (bench.dut.cpu() - before) / seconds(started) * 100.0);
        bench.put("resident memory", bench.dut.resident());
        Ok(())
    })
}
