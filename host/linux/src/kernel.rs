//! The kernel's state read and changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use dataplane::nft::{Family, NftChange, NftTable};
use dataplane::{
    Actual, Batch, LinkKind, Operation, Protocol, TABLE_LOCAL, TABLE_MAIN, removed_backends,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::conntrack::{self, Gone};
use crate::error::{KernelError, mend};
use crate::events::Changes;
use crate::netlink::Netlink;
use crate::nft::{self, Generation};
use crate::sysctl::{read_sysctls, write_sysctl};
use crate::wire::{self, Names};

/// One way to the kernel of the network namespace in which it was opened. Lanes take one each (see [`Kernel::another`]).
///
/// Parameters and nft go by the namespace of the calling thread, so it is used in the namespace where it was opened.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) netlink: Netlink,
    generation: Generation,
    names: Names,
    tables: Arc<Mutex<Tables>>,
}

/// Our tables as they were at a generation; a listing of many elements is dear.
#[derive(Debug, Default)]
struct Tables {
    at: Option<u32>,
    tables: Vec<NftTable>,
}

/// What a batch's operation came to.
pub type Applied = Result<(), KernelError>;

impl Kernel {
    /// Opens the kernel of the calling thread's network namespace.
    ///
    /// # Errors
    /// socket(2)'s and bind(2)'s.
    pub fn open() -> io::Result<Kernel> {
        Ok(Kernel {
            netlink: Netlink::open()?,
            generation: Generation::open()?,
            names: Names::default(),
            tables: Arc::default(),
        })
    }

    /// Another way to the same kernel, for another thread; what is known of nftables is shared.
    ///
    /// # Errors
    /// As [`Kernel::open`].
    pub fn another(&self) -> io::Result<Kernel> {
        Ok(Kernel {
            tables: Arc::clone(&self.tables),
            ..Kernel::open()?
        })
    }

    /// Reads everything.
    ///
    /// # Errors
    /// What was read, the kernel's words and how to mend it.
    pub fn read(&mut self) -> Result<Actual, KernelError> {
        let mut actual = Actual::default();
        self.refresh(&mut actual, Changes::ALL)?;
        Ok(actual)
    }

    /// Reads again what may have changed.
    ///
    /// # Errors
    /// As [`Kernel::read`]; what was read before the error is kept.
    pub fn refresh(&mut self, actual: &mut Actual, changes: Changes) -> Result<(), KernelError> {
        // Routes name interfaces by index, and a link that went took its routes along without a word.
        if changes.links {
            self.read_links(actual)?;
            self.read_addresses(actual)?;
        }
        if changes.links || changes.routes {
            self.read_routes(actual)?;
        }
        if changes.links || changes.neighbours {
            self.read_neighbours(actual)?;
        }
        if changes.links || changes.sysctls {
            read_sysctls(actual);
        }
        if changes.rules {
            actual.tables = self.read_tables()?;
        }
        Ok(())
    }

    fn dump(
        &mut self,
        what: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, KernelError> {
        self.netlink
            .dump(message)
            .map_err(|error| KernelError::of_netlink(format!("read {what}"), &error))
    }

    pub(crate) fn read_links(&mut self, actual: &mut Actual) -> Result<(), KernelError> {
        let found = self.dump(
            "links",
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
        )?;
        self.names = Names::default();
        actual.links = BTreeMap::new();
        for message in &found {
            let RouteNetlinkMessage::NewLink(message) = message else {
                continue;
            };
            if let Some((index, link)) = wire::link(message) {
                self.names.insert(index, link.name.clone());
                actual.links.insert(link.name.clone(), link);
            }
        }
        Ok(())
    }

    fn read_addresses(&mut self, actual: &mut Actual) -> Result<(), KernelError> {
        let found = self.dump(
            "addresses",
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        )?;
        actual.addresses = found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(message) => wire::address(message, &self.names),
                _ => None,
            })
            .collect();
        Ok(())
    }

    fn read_routes(&mut self, actual: &mut Actual) -> Result<(), KernelError> {
        let mut all = BTreeSet::new();
        for table in [TABLE_MAIN, TABLE_LOCAL] {
            let mut message = RouteMessage::default();
            message.header.address_family = AddressFamily::Inet;
            message.attributes.push(RouteAttribute::Table(table));
            let found = self.dump("routes", RouteNetlinkMessage::GetRoute(message))?;
            all.extend(found.iter().filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(message) => wire::route(message, &self.names),
                _ => None,
            }));
        }
        // A kernel that does not filter by table gives all of them.
        all.retain(|route| route.table == TABLE_MAIN || route.table == TABLE_LOCAL);
        actual.routes = all;
        Ok(())
    }

    fn read_neighbours(&mut self, actual: &mut Actual) -> Result<(), KernelError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        let found = self.dump("neighbours", RouteNetlinkMessage::GetNeighbour(message))?;
        actual.neighbours = found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewNeighbour(message) => wire::neighbour(message, &self.names),
                _ => None,
            })
            .collect();
        Ok(())
    }

    fn read_tables(&mut self) -> Result<Vec<NftTable>, KernelError> {
        let now = self.generation_now()?;
        {
            let known = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            if known.at == Some(now) {
                return Ok(known.tables.clone());
            }
        }
        let listed = nft::list(Family::Ip).map_err(|error| KernelError {
            operation: "list table ip selvedge".to_owned(),
            cause: error.to_string(),
            mend: "",
            errno: None,
        })?;
        let tables: Vec<_> = listed.into_iter().collect();
        // Known only if nothing changed while nft was listing.
        let after = self.generation_now()?;
        let mut known = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Tables {
            at: (after == now).then_some(now),
            tables: tables.clone(),
        };
        Ok(tables)
    }

    fn generation_now(&self) -> Result<u32, KernelError> {
        self.generation
            .get()
            .map_err(|error| KernelError::of_io("read the generation of nftables", &error))
    }

    /// Does a batch's operations, in order, each with its own result. One that fails does not stop the next.
    pub fn apply(&mut self, batch: &Batch) -> Vec<Applied> {
        let mut results = Vec::with_capacity(batch.operations.len());
        let mut rest = batch.operations.as_slice();
        while let Some(operation) = rest.first() {
            let by_netlink = rest
                .iter()
                .take_while(|operation| goes_by_netlink(operation))
                .count();
            if by_netlink > 0 {
                let (some, after) = rest.split_at(by_netlink);
                results.extend(self.apply_routes(some));
                rest = after;
            } else {
                results.push(self.apply_one(operation));
                rest = &rest[1..];
            }
        }
        results
    }

    fn apply_one(&mut self, operation: &Operation) -> Applied {
        match operation {
            Operation::SetLink(link) => self.set_link(link, operation),
            Operation::SetSysctl(sysctl) => write_sysctl(sysctl),
            Operation::Nft(changes) => self.apply_nft(changes, operation),
            Operation::AddAddress(_)
            | Operation::RemoveAddress(_)
            | Operation::SetRoute(_)
            | Operation::RemoveRoute(_)
            | Operation::SetNeighbour(_)
            | Operation::RemoveNeighbour(_) => self
                .apply_routes(std::slice::from_ref(operation))
                .pop()
                .expect("one result an operation"),
        }
    }

    /// Many operations with few system calls.
    fn apply_routes(&mut self, operations: &[Operation]) -> Vec<Applied> {
        if let Err(error) = self.read_links(&mut Actual::default()) {
            let again = || KernelError {
                operation: error.operation.clone(),
                cause: error.cause.clone(),
                ..error
            };
            return operations.iter().map(|_| Err(again())).collect();
        }
        let mut results: Vec<Option<Applied>> = Vec::with_capacity(operations.len());
        let mut requests = Vec::with_capacity(operations.len());
        for operation in operations {
            match request(operation, &self.names) {
                Ok(request) => {
                    requests.push(request);
                    results.push(None);
                }
                Err(interface) => results.push(Some(absent_interface(operation, &interface))),
            }
        }
        let mut answers = match self.netlink.batch(requests) {
            Ok(answers) => answers.into_iter(),
            Err(error) => {
                let failed = |operation| Err(KernelError::of_io(operation, &error));
                return operations.iter().map(failed).collect();
            }
        };
        let applied = |operation: &Operation| match answers.next() {
            Some(Err(error)) if !is_done_already(operation, error.errno()) => {
                Err(KernelError::of_netlink(operation, &error))
            }
            _ => Ok(()),
        };
        let mut applied = applied;
        operations
            .iter()
            .zip(results)
            .map(|(operation, result)| result.unwrap_or_else(|| applied(operation)))
            .collect()
    }

    fn set_link(&mut self, link: &dataplane::Link, operation: &Operation) -> Applied {
        if link.kind == LinkKind::Ipip {
            let mut message = LinkMessage::default();
            message
                .attributes
                .push(LinkAttribute::IfName(link.name.clone()));
            message
                .attributes
                .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
                    InfoKind::IpIp,
                )]));
            let made = self.netlink.request(
                RouteNetlinkMessage::NewLink(message),
                NLM_F_CREATE | NLM_F_EXCL,
            );
            // The module's own tunl0 appears with it.
            if let Err(error) = made
                && !error.is(libc::EEXIST)
            {
                return Err(KernelError::of_netlink(operation, &error));
            }
        }
        self.read_links(&mut Actual::default())?;
        let Some(index) = self.names.index(&link.name) else {
            return absent_interface(operation, &link.name);
        };
        let mut message = LinkMessage::default();
        message.header.index = index;
        if link.up {
            message.header.flags = LinkFlags::Up;
        }
        message.header.change_mask = LinkFlags::Up;
        if let Some(mtu) = link.mtu {
            message.attributes.push(LinkAttribute::Mtu(mtu));
        }
        self.netlink
            .request(RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|error| KernelError::of_netlink(operation, &error))
    }

    fn apply_nft(&mut self, changes: &[NftChange], operation: &Operation) -> Applied {
        let before = self.generation_now()?;
        let transactions = nft::apply(changes).map_err(|error| KernelError {
            operation: operation.to_string(),
            cause: error.to_string(),
            mend: "",
            errno: None,
        })?;
        self.remember(changes, before, transactions)?;
        forget_connections(changes)
    }

    /// What is known of the tables follows our own transaction without a listing, when ours alone came between.
    fn remember(&self, changes: &[NftChange], before: u32, transactions: u32) -> Applied {
        let after = self.generation_now()?;
        let mut known = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if known.at == Some(before) && after == before.wrapping_add(transactions) {
            let mut actual = Actual {
                tables: std::mem::take(&mut known.tables),
                ..Actual::default()
            };
            let batch = Batch {
                lane: dataplane::Lane::Rules,
                number: 1,
                follows: None,
                operations: vec![Operation::Nft(changes.to_vec())],
            };
            dataplane::apply(&mut actual, &batch);
            *known = Tables {
                at: Some(after),
                tables: actual.tables,
            };
        }
        Ok(())
    }
}

/// Ends what UDP clients have with backends that a transaction took away.
fn forget_connections(changes: &[NftChange]) -> Applied {
    let gone: BTreeSet<Gone> = removed_backends(changes)
        .into_iter()
        .filter(|(frontend, _)| frontend.protocol == Protocol::Udp)
        .map(|(frontend, backend)| Gone {
            service: frontend.address,
            port: frontend.port,
            backend,
        })
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    match conntrack::forget(&gone) {
        Ok(count) => {
            tracing::debug!(count, "connections to removed UDP backends forgotten");
            Ok(())
        }
        Err(error) => Err(KernelError::of_io(
            "forget the connections to removed UDP backends",
            &error,
        )),
    }
}

fn goes_by_netlink(operation: &Operation) -> bool {
    match operation {
        Operation::AddAddress(_)
        | Operation::RemoveAddress(_)
        | Operation::SetRoute(_)
        | Operation::RemoveRoute(_)
        | Operation::SetNeighbour(_)
        | Operation::RemoveNeighbour(_) => true,
        Operation::SetLink(_) | Operation::SetSysctl(_) | Operation::Nft(_) => false,
    }
}

/// The netlink request of an operation; the error is the name of an interface that is not there.
fn request(operation: &Operation, names: &Names) -> Result<(RouteNetlinkMessage, u16), String> {
    let set = NLM_F_CREATE | NLM_F_REPLACE;
    Ok(match operation {
        Operation::AddAddress(address) => (
            RouteNetlinkMessage::NewAddress(wire::address_message(address, names)?),
            set,
        ),
        Operation::RemoveAddress(address) => (
            RouteNetlinkMessage::DelAddress(wire::address_message(address, names)?),
            0,
        ),
        Operation::SetRoute(route) => (
            RouteNetlinkMessage::NewRoute(wire::route_message(route, names)?),
            set,
        ),
        Operation::RemoveRoute(route) => (
            RouteNetlinkMessage::DelRoute(wire::route_message(route, names)?),
            0,
        ),
        Operation::SetNeighbour(neighbour) => (
            RouteNetlinkMessage::NewNeighbour(wire::neighbour_message(neighbour, names)?),
            set,
        ),
        Operation::RemoveNeighbour(neighbour) => (
            RouteNetlinkMessage::DelNeighbour(wire::neighbour_message(neighbour, names)?),
            0,
        ),
        Operation::SetLink(_) | Operation::SetSysctl(_) | Operation::Nft(_) => {
            unreachable!("goes_by_netlink keeps these apart")
        }
    })
}

fn removes(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::RemoveAddress(_) | Operation::RemoveRoute(_) | Operation::RemoveNeighbour(_)
    )
}

/// With an interface goes everything on it: a removal is done then.
fn absent_interface(operation: &Operation, interface: &str) -> Applied {
    if removes(operation) {
        return Ok(());
    }
    Err(KernelError {
        operation: operation.to_string(),
        cause: format!("there is no interface {interface}"),
        mend: mend(Some(libc::ENODEV)),
        errno: Some(libc::ENODEV),
    })
}

/// Errors that say that things are already as they shall be.
fn is_done_already(operation: &Operation, errno: Option<i32>) -> bool {
    match operation {
        Operation::AddAddress(_) => errno == Some(libc::EEXIST),
        _ => {
            removes(operation)
                && matches!(
                    errno,
                    Some(libc::ESRCH | libc::ENOENT | libc::EADDRNOTAVAIL | libc::ENODEV)
                )
        }
    }
}
