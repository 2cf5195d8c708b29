//! Ten senders with the same prefixes; the first has the shortest paths, the second the next, and so on. Then the best
//! withdraws, and the session of the next best ends.

use super::*;

const SENDERS: u32 = 10;

pub(super) const WORK: Work = Work {
    name: "multi",
    what: |sizes| {
        format!(
            "{SENDERS} senders of the same {} prefixes",
            sizes.prefixes / 10
        )
    },
    measures: &[
        measure(
            "until the receiver has the best",
            "s",
            Goal::TimesBest(0.5, 0.3),
        ),
        measure("CPU for it", "s", Goal::None),
        measure("resident memory then", "MiB", Goal::TimesBest(0.5, 0.3)),
        measure(
            "best withdraws, all by the next",
            "s",
            Goal::TimesBest(0.5, 0.3),
        ),
        measure(
            "next drops, all by the third",
            "s",
            Goal::TimesBest(0.5, 0.3),
        ),
        measure("CPU for the drop", "s", Goal::None),
        measure("UPDATEs to the receiver", "", Goal::None),
    ],
    run,
};

fn run(speaker: &Speaker, sizes: &Sizes) -> Result<Bench> {
    let count = sizes.prefixes / 10;
    let table = Table::internet(count);
    let mut peers: Vec<Peer> = (1..=SENDERS).map(sender).collect();
    let say = |(prepend, peer): (usize, &Peer)| -> Rc<[u8]> {
        table
            .announcements(&table.groups, peer.asn, peer.address, prepend)
            .into()
    };
    let tables: Vec<Rc<[u8]>> = peers.iter().enumerate().map(say).collect();
    let away = table.withdrawals(&table.groups);
    let to = peers.len();
    peers.push(receiver(1));
    Bench::run(speaker, setup(), table, peers, |bench| {
        let ids: Vec<usize> = (0..=to).rev().collect();
        bench.settle(&ids)?;
        let (started, before) = (Instant::now(), bench.dut.cpu());
        tables
            .into_iter()
            .enumerate()
            .for_each(|(id, table)| bench.peers.say(id, table));
        bench.until("the best paths", |peers| {
            peers.sessions[to].by_sender[1] == count
                && peers.sessions.iter().all(|s| s.is_drained())
        })?;
        bench.put("until the receiver has the best", seconds(started));
        // Some are still reading paths that are worse.
        bench.peers.idle(SETTLE)?;
        bench.put("CPU for it", bench.dut.cpu() - before);
        bench.put("resident memory then", bench.dut.resident());
        bench.put("UPDATEs to the receiver", bench.peers.updates as f64);

        let started = Instant::now();
        bench.peers.say(0, away.into());
        bench.until("the paths of the second", |peers| {
            peers.sessions[to].by_sender[2] == count
        })?;
        bench.put("best withdraws, all by the next", seconds(started));
        bench.peers.idle(SETTLE / 2)?;

        let (started, before) = (Instant::now(), bench.dut.cpu());
        bench.peers.cut(1);
        bench.until("the paths of the third", |peers| {
            peers.sessions[to].by_sender[3] == count
        })?;
        bench.put("next drops, all by the third", seconds(started));
        bench.put("CPU for the drop", bench.dut.cpu() - before);
        Ok(())
    })
}
