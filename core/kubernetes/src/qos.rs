//! The limits of a pod's traffic, which its annotations give (calico-compat §3.4).
//!
//! Values are Kubernetes' quantities. One out of range becomes the nearest that is in range.

use resource::kinds::{NumberOrName, QosControls};

use crate::annotations::Reader;
use crate::quantity;

/// One limit.
struct Limit {
    annotation: &'static str,
    least: i64,
    most: i64,
    at: fn(&mut QosControls) -> &mut i64,
}

const KILO: i64 = 1_000;
const PETA: i64 = 1_000_000_000_000_000;
/// Bits.
const BURST_MAX: i64 = 34_359_738_360;
/// Bits that may come or go at once where a bandwidth is given without a burst.
const BURST: i64 = 1 << 32;
/// Packets that may come or go at once where a packet rate is given without a burst.
const PACKET_BURST: i64 = 5;

const DSCP: &str = "qos.projectcalico.org/dscp";
const DSCP_NAMES: [&str; 21] = [
    "DF", "EF", "AF11", "AF12", "AF13", "AF21", "AF22", "AF23", "AF31", "AF32", "AF33", "AF41",
    "AF42", "AF43", "CS0", "CS1", "CS2", "CS3", "CS4", "CS5", "CS6",
];

#[rustfmt::skip]
const LIMITS: [Limit; 14] = [
    limit("qos.projectcalico.org/ingressBandwidth", KILO, PETA, |q| &mut q.ingress_bandwidth),
    limit("qos.projectcalico.org/ingressBurst", KILO, BURST_MAX, |q| &mut q.ingress_burst),
    limit(PEAK_RATES[0], KILO + 10, PETA + PETA / 100, |q| &mut q.ingress_peakrate),
    limit("qos.projectcalico.org/ingressMinburst", KILO, 100_000_000, |q| &mut q.ingress_minburst),
    limit("qos.projectcalico.org/egressBandwidth", KILO, PETA, |q| &mut q.egress_bandwidth),
    limit("qos.projectcalico.org/egressBurst", KILO, BURST_MAX, |q| &mut q.egress_burst),
    limit(PEAK_RATES[1], KILO + 10, PETA + PETA / 100, |q| &mut q.egress_peakrate),
    limit("qos.projectcalico.org/egressMinburst", KILO, 100_000_000, |q| &mut q.egress_minburst),
    limit("qos.projectcalico.org/ingressPacketRate", 1, 10 * KILO, |q| &mut q.ingress_packet_rate),
    limit("qos.projectcalico.org/ingressPacketBurst", 1, 10 * KILO, |q| &mut q.ingress_packet_burst),
    limit("qos.projectcalico.org/egressPacketRate", 1, 10 * KILO, |q| &mut q.egress_packet_rate),
    limit("qos.projectcalico.org/egressPacketBurst", 1, 10 * KILO, |q| &mut q.egress_packet_burst),
    limit("qos.projectcalico.org/ingressMaxConnections", 1, u32::MAX as i64, |q| &mut q.ingress_max_connections),
    limit("qos.projectcalico.org/egressMaxConnections", 1, u32::MAX as i64, |q| &mut q.egress_max_connections),
];

/// What other plugins know; Calico's own come first.
#[rustfmt::skip]
const FALLBACKS: [Limit; 2] = [
    limit("kubernetes.io/ingress-bandwidth", KILO, PETA, |q| &mut q.ingress_bandwidth),
    limit("kubernetes.io/egress-bandwidth", KILO, PETA, |q| &mut q.egress_bandwidth),
];

const PEAK_RATES: [&str; 2] = [
    "qos.projectcalico.org/ingressPeakrate",
    "qos.projectcalico.org/egressPeakrate",
];

const fn limit(
    annotation: &'static str,
    least: i64,
    most: i64,
    at: fn(&mut QosControls) -> &mut i64,
) -> Limit {
    Limit {
        annotation,
        least,
        most,
        at,
    }
}

impl Limit {
    fn read(&self, reader: &mut Reader<'_>, controls: &mut QosControls) {
        let Some(value) = reader.valid(self.annotation, "a quantity", quantity::parse) else {
            return;
        };
        let (least, most) = (self.least, self.most);
        let bound = if value < i128::from(least) {
            least
        } else if value > i128::from(most) {
            most
        } else {
            *(self.at)(controls) = value as i64;
            return;
        };
        *(self.at)(controls) = bound;
        let why = format!("is not from {least} to {most}: taken as {bound}");
        reader.ignore(self.annotation, &why);
    }
}

/// The limits that a pod's annotations give; `None` where they give none.
pub(crate) fn controls(reader: &mut Reader<'_>) -> Option<QosControls> {
    let mut controls = QosControls::default();
    for limit in LIMITS {
        limit.read(reader, &mut controls);
    }
    for limit in FALLBACKS {
        if *(limit.at)(&mut controls) == 0 {
            limit.read(reader, &mut controls);
        }
    }
    complete(&mut controls, reader);
    controls.dscp = reader.valid(DSCP, "0 to 63 or the name of a code point", dscp);
    Some(controls).filter(|controls| *controls != QosControls::default())
}

/// Bursts where rates have none, and no peak below what it is the peak of.
fn complete(controls: &mut QosControls, reader: &mut Reader<'_>) {
    let QosControls {
        ingress_bandwidth,
        ingress_burst,
        ingress_peakrate,
        egress_bandwidth,
        egress_burst,
        egress_peakrate,
        ingress_packet_rate,
        ingress_packet_burst,
        egress_packet_rate,
        egress_packet_burst,
        ..
    } = controls;
    for (rate, burst, default) in [
        (&*ingress_bandwidth, ingress_burst, BURST),
        (&*egress_bandwidth, egress_burst, BURST),
        (&*ingress_packet_rate, ingress_packet_burst, PACKET_BURST),
        (&*egress_packet_rate, egress_packet_burst, PACKET_BURST),
    ] {
        if *rate != 0 && *burst == 0 {
            *burst = default;
        }
    }
    for (annotation, peak, rate) in [
        (PEAK_RATES[0], ingress_peakrate, ingress_bandwidth),
        (PEAK_RATES[1], egress_peakrate, egress_bandwidth),
    ] {
        if *peak != 0 && (*rate == 0 || *peak <= *rate) {
            *peak = 0;
            reader.ignore(annotation, "is not above a bandwidth");
        }
    }
}

fn dscp(text: &str) -> Option<NumberOrName> {
    match text.parse::<u8>() {
        Ok(number) => (number < 64).then_some(NumberOrName::Number(number)),
        Err(_) => DSCP_NAMES
            .contains(&text)
            .then(|| NumberOrName::Name(text.to_string())),
    }
}
