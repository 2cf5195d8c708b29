//! How addresses are reached.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    ACK, Found, GET_ROUTE, Hop, Owner, RTA_DST, RTA_OIF, RouteHeader, RouteWriter, UNICAST, put,
    put_address,
};

// Source: linux/rtnetlink.h.
const FIB_MATCH: u32 = 0x2000;

/// How an address is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// By which hops, at least one; each with a gateway.
    pub hops: Vec<Hop>,
    /// The metric of the route that says so.
    pub metric: u32,
}

impl Way {
    fn by(route: Found, address: IpAddr) -> Option<Way> {
        let through = |hop: Hop| Hop {
            gateway: hop.gateway.or(Some(address)),
            ..hop
        };
        let alive = |hop: &Hop| !route.dead.contains(&hop.oif);
        let hops: Vec<Hop> = route
            .hops
            .iter()
            .copied()
            .filter(alive)
            .map(through)
            .collect();
        (!hops.is_empty()).then_some(Way {
            hops,
            metric: route.metric,
        })
    }
}

impl RouteWriter {
    /// How the kernel reaches an address, as if the routes of this owner were not there: what would depend on itself
    /// otherwise is found all the same, and goes when its reason goes. A link-local one is reached by the interface whose
    /// index is `scope`, which is 0 for others. `None`: not at all, or by links that are down, or the address is the
    /// machine's own.
    ///
    /// # Errors
    /// The socket's; `Interrupted` when the table changed meanwhile: ask again.
    pub fn resolve(&mut self, address: IpAddr, scope: u32) -> io::Result<Option<Way>> {
        let mut found = self.look_up(address, scope)?;
        if found.as_ref().is_some_and(|route| route.is_of(self.owner)) {
            found = self.look_up_among_others(address)?;
        }
        let on_link = |route: &Found| scope == 0 || route.hops.iter().all(|hop| hop.oif == scope);
        let usable = found.filter(|route| route.route_type == UNICAST && on_link(route));
        Ok(usable.and_then(|route| Way::by(route, address)))
    }

    /// The most specific route to an address that is not the owner's. Reads the whole table.
    fn look_up_among_others(&mut self, address: IpAddr) -> io::Result<Option<Found>> {
        let owner = self.owner;
        let mut best: Option<Found> = None;
        self.dump(address, 0, |route| {
            let key = |route: &Found| {
                let length = route.prefix.prefix_len();
                (length, std::cmp::Reverse(route.metric))
            };
            let others = route.table == owner.table && !route.is_of(owner);
            let fits = others && route.prefix.contains(&address);
            if fits && best.as_ref().is_none_or(|best| key(best) < key(&route)) {
                best = Some(route);
            }
        })?;
        Ok(best)
    }

    /// The route that a packet to this address would take; `None` when there is none.
    fn look_up(&mut self, address: IpAddr, scope: u32) -> io::Result<Option<Found>> {
        let prefix = IpNet::from(address);
        let header = RouteHeader {
            prefix,
            owner: Owner::NOBODY,
            scope: 0,
            route_type: 0,
            flags: FIB_MATCH,
        };
        self.ask(GET_ROUTE, ACK, |out| {
            header.write(out);
            put_address(out, RTA_DST, address);
            if scope != 0 {
                put(out, RTA_OIF, &scope.to_ne_bytes());
            }
        })?;
        let mut found = None;
        let answered = self.answers(|reply| found = found.take().or(Found::read(reply)));
        match answered {
            // Unreachable of one kind or another: ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL; ENODEV of an interface that went.
            Err(error)
                if [
                    libc::ENETUNREACH,
                    libc::ENODEV,
                    libc::EHOSTUNREACH,
                    libc::EACCES,
                    libc::EINVAL,
                ]
                .map(Some)
                .contains(&error.raw_os_error()) =>
            {
                Ok(None)
            }
            answered => answered.map(|()| found),
        }
    }

    /// The connected network that both addresses are in, by the route that leads to `remote`.
    ///
    /// # Errors
    /// The socket's.
    pub fn shared_network(&mut self, local: IpAddr, remote: IpAddr) -> io::Result<Option<IpNet>> {
        let on_link = |route: &Found| {
            let [hop] = route.hops.as_slice() else {
                return false;
            };
            hop.gateway.is_none() && route.prefix.contains(&local)
        };
        let found = self.look_up(remote, 0)?;
        let route = found.filter(|route| route.route_type == UNICAST && on_link(route));
        Ok(route.map(|route| route.prefix))
    }
}
