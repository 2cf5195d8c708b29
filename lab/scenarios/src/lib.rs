//! Scenario files: what stands on the network, what is done to it and what is expected.
//!
//! A file (`lab/scenarios/*.toml`) names LANs, hosts, daemons and pods, then steps. It is read strictly: an unknown key,
//! a host that does not exist or a bad pattern is refused with file, line and, where one is near, the word that was meant.
//! The crate holds no clock, socket or process: `netns` runs a scenario on the real kernel, `sim` in virtual time.
//!
//! Main types: [`Scenario`], [`Host`], [`Step`] and its [`Verb`]s, [`ScenarioError`].
//!
//! ```
//! let text = "title = \"two\"\n[[lan]]\nname = \"lan\"\n[[host]]\nname = \"a\"\n\
//!             nics = [{ name = \"eth0\", lan = \"lan\", address = \"192.0.2.1/24\" }]\n";
//! let scenario = scenario::Scenario::parse("two.toml", text)?;
//! assert_eq!(scenario.hosts[0].name.get_ref(), "a");
//! # Ok::<(), scenario::ScenarioError>(())
//! ```

mod builtin;
mod check;
mod error;
mod model;
mod on_etcd;

pub use builtin::{BUILTIN, Builtin, EXAMPLES, example, load};
pub use error::{ScenarioError, nearest};
pub use toml::Spanned;

pub use model::{
    Count, Counter, Cut, Daemon, Host, Kill, Lan, LinkState, Nic, Pod, Profile, Reach, Reached,
    Restart, Scenario, Seconds, Step, Verb,
};
