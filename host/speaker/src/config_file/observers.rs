//! BMP stations and MRT files.

use super::ConfigFile;
use crate::bmp::Station;
use crate::observers::Observer;
use crate::record::{Series, is_pattern};
use anyhow::{Result, ensure};
use bgp::View;
use monitor::bmp::Tells;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// A BMP station.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BmpEntry {
    station: SocketAddr,
    /// What of routes it is told; what neighbours say when left out.
    tell: Option<BTreeSet<TellName>>,
    /// Seconds between Statistics Reports; 60 when left out, 0: none.
    statistics: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum TellName {
    AdjInPre,
    AdjInPost,
    LocRib,
    AdjOutPre,
    AdjOutPost,
}

/// MRT files that are written all the time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MrtEntry {
    /// The files of what neighbours say.
    updates: Option<String>,
    /// Seconds after which a new one begins; 900 when left out.
    interval: Option<u32>,
    /// The files of tables.
    table: Option<String>,
    /// Seconds between them; 7200 when left out.
    table_interval: Option<u32>,
}

impl BmpEntry {
    fn station(&self) -> Station {
        let tells = |name| match &self.tell {
            Some(tell) => tell.contains(&name),
            None => name == TellName::AdjInPre,
        };
        let views = [
            (TellName::LocRib, View::LocRib),
            (TellName::AdjOutPre, View::AdjRibOutPre),
            (TellName::AdjOutPost, View::AdjRibOutPost),
        ];
        let told = views.into_iter().filter(|(name, _)| tells(*name));
        let statistics = self.statistics.unwrap_or(60);
        Station {
            address: self.station,
            tells: Tells {
                adj_in_pre: tells(TellName::AdjInPre),
                adj_in_post: tells(TellName::AdjInPost),
                views: told.map(|(_, view)| view).collect(),
            },
            statistics: (statistics > 0).then(|| Duration::from_secs(statistics.into())),
        }
    }
}

fn series(path: &Option<String>, interval: Option<u32>, default_s: u32) -> Option<Series> {
    let path = path.clone()?;
    let interval = Duration::from_secs(interval.unwrap_or(default_s).into());
    Some(Series { path, interval })
}

impl MrtEntry {
    fn check(&self) -> Result<()> {
        let kinds = [
            (&self.updates, self.interval, "updates", "interval"),
            (&self.table, self.table_interval, "table", "table_interval"),
        ];
        for (path, interval, name, interval_name) in kinds {
            ensure!(
                interval != Some(0),
                "mrt: {interval_name} must be at least 1 second"
            );
            ensure!(
                path.is_some() || interval.is_none(),
                "mrt: {interval_name} needs {name}"
            );
            ensure!(
                path.as_deref().is_none_or(is_pattern),
                "mrt: {name}: of what begins with % there are %Y %m %d %H %M %S and %%"
            );
        }
        ensure!(
            self.updates.is_some() || self.table.is_some(),
            "mrt: give `updates`, `table` or both"
        );
        ensure!(
            self.updates != self.table,
            "mrt: `updates` and `table` must not be the same files"
        );
        Ok(())
    }
}

impl ConfigFile {
    /// Who is told beside the neighbours.
    pub(crate) fn observers(&self) -> Vec<Observer> {
        let stations = self.bmp.iter().map(BmpEntry::station);
        let mut observers: Vec<Observer> = stations.map(Observer::Station).collect();
        if let Some(mrt) = &self.mrt {
            observers.extend(series(&mrt.updates, mrt.interval, 900).map(Observer::Updates));
            observers.extend(series(&mrt.table, mrt.table_interval, 7200).map(Observer::Tables));
        }
        observers
    }

    pub(super) fn check_observers(&self) -> Result<()> {
        self.mrt.as_ref().map_or(Ok(()), MrtEntry::check)
    }
}
