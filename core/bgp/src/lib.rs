//! A BGP speaker (RFC 4271) as a pure machine: codec, sessions, RIBs, decision, reflection.
//!
//! It has no clock, no sockets and no threads. A driver hands it [`Input`]s with the time
//! ([`Now`]), takes [`Output`]s until there are none, pulls bytes for its sockets with
//! [`Speaker::transmit`], and comes back at [`Speaker::next_deadline`] at the latest. Equal
//! inputs and an equal seed give equal outputs. It knows nothing of Calico or of the kernel:
//! peers, filters and originated prefixes come as a whole in a [`Config`], and what was chosen
//! goes out as [`RouteChange`]s.
//!
//! ```
//! use bgp::{Config, Input, Now, Output, Speaker};
//! let config = Config::new(64512.into(), [10, 20, 1, 84].into());
//! let mut speaker = Speaker::new(config, 1, Now::default());
//! let now = Now::default();
//! speaker.handle(Input::Timer, now);
//! while let Some(output) = speaker.poll(now) {
//!     let _: Output = output; // dial, listen, close, install routes
//! }
//! ```

mod config;
mod filter;
mod input;
mod output;
mod rib;
mod role;
mod security;
mod session;
mod speaker;
mod status;
mod view;
mod wire;

pub use config::{
    AddPath, Bfd, Config, GracefulRestart, LimitAction, LongLived, NextHopMode, Origin, PeerConfig,
    RangeConfig, RemoteAs,
};
pub use filter::{
    Action, AsPathMatch, Community, CommunityError, CommunityKind, CommunityMatch, Filter,
    InterfaceMatch, Operation, PeerType, PrefixList, PrefixMatch, Rule, Sample, Source,
};
pub use input::{Asn, ConnId, Family, Input, Neighbor, Now, PathState};
pub use output::{Chunk, NextHop, Output, Route, RouteChange, RouteNextHop, WatchedPath};
pub use role::Role;
pub use security::{
    AoAlgorithm, AoKey, Authentication, AuthenticationRefusal, Keys, ListenSecurity, Secret,
    SocketOptions,
};
pub use speaker::Speaker;
pub use status::{
    Counters, Explanation, Notice, NoticeReason, PathInfo, PathStanding, PeerEvent, PeerState,
    PeerStatus,
};
pub use view::{
    Accepted, AcceptedPath, Down, HeldPrefixes, Mirror, Mirrored, Opens, RibAttributes, RibCursor,
    RibPath, RibSlice, SessionCounts, SessionView, View, Viewed, WatchId,
};
