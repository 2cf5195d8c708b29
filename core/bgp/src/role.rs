//! BGP roles and the attribute ONLY_TO_CUSTOMER (RFC 9234): who of two neighbours serves whom, and
//! which routes must therefore not go between them.

/// What we are to an eBGP neighbour (RFC 9234 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// We carry its traffic to everywhere.
    Provider,
    /// We are a route server.
    RouteServer,
    /// We are a client of the neighbour, a route server.
    RouteServerClient,
    /// It carries our traffic to everywhere.
    Customer,
    /// Each gives the other its own routes and those of its customers.
    Peer,
}

/// What becomes of a route that comes in (RFC 9234 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// As it is.
    Keep,
    /// It gets ONLY_TO_CUSTOMER with the neighbour's AS.
    Mark,
    /// It must not have come this way.
    Leak,
}

impl Role {
    /// The value of the capability (RFC 9234 §4.1).
    pub(crate) fn code(self) -> u8 {
        match self {
            Role::Provider => 0,
            Role::RouteServer => 1,
            Role::RouteServerClient => 2,
            Role::Customer => 3,
            Role::Peer => 4,
        }
    }

    /// What the other one must be (RFC 9234 §4.2).
    pub(crate) fn counterpart(self) -> Role {
        match self {
            Role::Provider => Role::Customer,
            Role::RouteServer => Role::RouteServerClient,
            Role::RouteServerClient => Role::RouteServer,
            Role::Customer => Role::Provider,
            Role::Peer => Role::Peer,
        }
    }

    /// Judges a route from `remote_as`; `only_to_customer` is what it has of the attribute.
    pub(crate) fn receive(self, only_to_customer: Option<u32>, remote_as: u32) -> Receipt {
        match (self, only_to_customer) {
            (Role::Provider | Role::RouteServer, Some(_)) => Receipt::Leak,
            (Role::Provider | Role::RouteServer, None) => Receipt::Keep,
            (Role::Peer, Some(asn)) if asn != remote_as => Receipt::Leak,
            (Role::Peer | Role::Customer | Role::RouteServerClient, Some(_)) => Receipt::Keep,
            (Role::Peer | Role::Customer | Role::RouteServerClient, None) => Receipt::Mark,
        }
    }

    /// Whether routes with the attribute are kept from the neighbour.
    pub(crate) fn withholds(self) -> bool {
        match self {
            Role::Customer | Role::Peer | Role::RouteServerClient => true,
            Role::Provider | Role::RouteServer => false,
        }
    }

    /// Whether routes without the attribute get it, with our AS, on their way to the neighbour.
    pub(crate) fn marks(self) -> bool {
        match self {
            Role::Provider | Role::Peer | Role::RouteServer => true,
            Role::Customer | Role::RouteServerClient => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Role; 5] = [
        Role::Provider,
        Role::RouteServer,
        Role::RouteServerClient,
        Role::Customer,
        Role::Peer,
    ];

    #[test]
    fn pairs() {
        for role in ALL {
            assert_eq!(role.counterpart().counterpart(), role);
        }
        assert_eq!(ALL.map(Role::code), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_comes_in() {
        use Receipt::{Keep, Leak, Mark};
        let own = Some(7);
        let other = Some(8);
        for (role, none, of_neighbour, of_another) in [
            (Role::Provider, Keep, Leak, Leak),
            (Role::RouteServer, Keep, Leak, Leak),
            (Role::RouteServerClient, Mark, Keep, Keep),
            (Role::Customer, Mark, Keep, Keep),
            (Role::Peer, Mark, Keep, Leak),
        ] {
            let got = [None, own, other].map(|otc| role.receive(otc, 7));
            assert_eq!(got, [none, of_neighbour, of_another], "{role:?}");
        }
    }

    /// A valley-free way: what came from a provider, a peer or a route server goes to customers only.
    #[test]
    fn what_goes_out() {
        for from in ALL {
            let marked = from.receive(None, 7) == Receipt::Mark;
            for to in ALL {
                let goes = !(marked && to.withholds());
                let below = matches!(to, Role::Provider | Role::RouteServer);
                assert_eq!(goes, !marked || below, "{from:?} to {to:?}");
            }
        }
    }
}
