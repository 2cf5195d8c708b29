//! Each refusal stands in docs/symptoms.md with its name and its words.

use ipam::Refusal;

#[test]
fn every_refusal_is_documented() {
    let text = include_str!("../../../docs/symptoms.md");
    let (cidr, address) = ("10.0.0.0/26".parse().unwrap(), "10.0.0.1".parse().unwrap());
    let refusals = [
        Refusal::NoPool,
        Refusal::PoolsDisabled,
        Refusal::NoPoolSelectsNode,
        Refusal::NoPoolForUse("…"),
        Refusal::RequestedPool("…".to_string()),
        Refusal::NodeUnknown("…".to_string()),
        Refusal::PoolInvalid {
            pool: "…".to_string(),
            reason: "…".to_string(),
        },
        Refusal::ReservationInvalid {
            reservation: "…".to_string(),
            cidr: "…".to_string(),
        },
        Refusal::BlockLimit,
        Refusal::StrictAffinity,
        Refusal::Exhausted(Vec::new()),
        Refusal::ConflictLimit,
        Refusal::AddressNotInPool,
        Refusal::AddressTaken(address),
        Refusal::BlockOfAnother(cidr),
        Refusal::HandleMismatch(address),
        Refusal::SequenceMismatch(address),
        Refusal::BlockNotEmpty(cidr),
    ];
    for refusal in refusals {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", refusal.name())));
        let row = row.unwrap_or_else(|| panic!("{} is not in docs/symptoms.md", refusal.name()));
        let said = refusal.to_string();
        let longest = row
            .split('`')
            .nth(3)
            .and_then(|m| m.split('…').max_by_key(|part| part.len()));
        let longest = longest.unwrap().trim();
        assert!(said.contains(longest), "{longest:?} is not in {said:?}");
        assert!(refusal.cure().ends_with('.'), "{refusal:?}");
    }
}
