//! Whether the kernel has IP in IP (RFC 2003).

use dataplane::{Actual, LinkKind};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use crate::error::KernelError;
use crate::kernel::Kernel;

/// Whether this kernel can make IP in IP devices: one is there, or one can be made (and is removed again).
///
/// # Errors
/// The kernel's, but for the one that says that it has none (EOPNOTSUPP).
pub fn ipip_possible() -> Result<bool, KernelError> {
    const PROBE: &str = "selvedge-probe";
    let mut kernel =
        Kernel::open().map_err(|error| KernelError::of_io("open a netlink socket", &error))?;
    let mut actual = Actual::default();
    kernel.read_links(&mut actual)?;
    if actual
        .links
        .values()
        .any(|link| link.kind == LinkKind::Ipip)
    {
        return Ok(true);
    }
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(PROBE.to_owned()));
    message
        .attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
            InfoKind::IpIp,
        )]));
    match kernel.netlink.request(
        RouteNetlinkMessage::NewLink(message),
        NLM_F_CREATE | NLM_F_EXCL,
    ) {
        Ok(()) => {}
        Err(error) if error.is(libc::EOPNOTSUPP) => return Ok(false),
        Err(error) => return Err(KernelError::of_netlink("try an IP in IP device", &error)),
    }
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(PROBE.to_owned()));
    kernel
        .netlink
        .request(RouteNetlinkMessage::DelLink(message), 0)
        .map_err(|error| {
            KernelError::of_netlink(format!("remove the trial device {PROBE}"), &error)
        })?;
    Ok(true)
}
