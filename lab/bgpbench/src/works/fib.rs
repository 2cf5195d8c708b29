//! Routes of a peer into the kernel, and out of it when the peer's session ends.

use super::*;

/// Between two looks at the kernel: each is a walk over its table on the other CPU.
const LOOK: Duration = Duration::from_millis(5);

pub(super) const WORK: Work = Work {
    name: "fib",
    what: |sizes| {
        format!(
            "{} routes from a peer into the kernel, and out",
            sizes.prefixes / 10
        )
    },
    measures: &[
        measure(
            "until the kernel has all",
            "s",
            Goal::Times("bird", 0.7, 0.5),
        ),
        measure("CPU for it", "s", Goal::None),
        measure("sender drops, all gone", "s", Goal::Times("bird", 0.7, 0.5)),
        measure("CPU for the drop", "s", Goal::None),
        measure("resident memory", "MiB", Goal::None),
    ],
    run,
};

fn run(speaker: &Speaker, sizes: &Sizes) -> Result<Bench> {
    let count = sizes.prefixes / 10;
    let table = Table::internet(count);
    let from = sender(1);
    let all = table.announcements(&table.groups, from.asn, from.address, 0);
    let setup = Setup {
        kernel: true,
        ..setup()
    };
    Bench::run(speaker, setup, table, vec![from, receiver(1)], |bench| {
        bench.settle(&[1, 0])?;
        let foreign = bench.dut.kernel_routes()?;
        let (started, before) = (Instant::now(), bench.dut.cpu());
        bench.peers.say(0, all.into());
        wait_for(bench, |routes| routes >= foreign + count)?;
        bench.put("until the kernel has all", seconds(started));
        bench.peers.idle(SETTLE)?;
        bench.put("CPU for it", bench.dut.cpu() - before);
        bench.put("resident memory", bench.dut.resident());
        let (started, before) = (Instant::now(), bench.dut.cpu());
        bench.peers.cut(0);
        wait_for(bench, |routes| routes <= foreign)?;
        bench.put("sender drops, all gone", seconds(started));
        bench.put("CPU for the drop", bench.dut.cpu() - before);
        Ok(())
    })
}

fn wait_for(bench: &mut Bench, done: impl Fn(usize) -> bool) -> Result<()> {
    let started = Instant::now();
    loop {
        let routes = bench.dut.kernel_routes()?;
        if done(routes) {
            return Ok(());
        }
        ensure!(started.elapsed() < LIMIT, "the kernel has {routes} routes");
        bench.peers.idle(LOOK)?;
    }
}
