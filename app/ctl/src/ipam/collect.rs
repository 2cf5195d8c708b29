//! `selvedge ipam collect`: what the agents' collector does, once and now.

use std::time::Duration;

use ipam::collect::{Collector, GRACE_NS};
use resource::Store;
use resource::kinds::parse_go_duration;
use store::block_on;

use crate::args::Args;
use crate::client::Client;
use crate::world::{Failure, World};

/// Between the two looks that an empty block must be seen at.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// Clears away what nobody uses, or says what it would.
///
/// # Errors
/// What is no duration; the store's.
pub fn run<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let grace = match args.get("grace") {
        None => block_on(client.ipam.grace())
            .map_err(Failure::message)?
            .unwrap_or(GRACE_NS),
        Some(text) => {
            let grace = parse_go_duration(text)
                .map_err(|error| Failure::message(format!("invalid grace period: {error}")))?;
            u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX)
        }
    };
    let now = u64::try_from(world.now.as_nanosecond()).unwrap_or(0);
    let mut collector = Collector::by_timestamp(grace);
    let survey = block_on(client.ipam.survey()).map_err(Failure::message)?;
    collector.observe(&survey, now);
    (world.pause)(BETWEEN_LOOKS);
    let dry = args.has("dry-run");
    let garbage = if dry {
        block_on(client.ipam.garbage(&mut collector, now))
    } else {
        block_on(client.ipam.collect(&mut collector, now))
    };
    let garbage = garbage.map_err(Failure::message)?;
    let verb = if dry { "Would release" } else { "Released" };
    for one in &garbage {
        world.print(format_args!("{verb} {one}\n"))?;
    }
    let waiting = collector.candidates();
    world.print(format_args!(
        "{verb} {} things; {waiting} addresses are without a workload.\n",
        garbage.len()
    ))
}
