//! Which member of a group gets which partition: sticky, balanced, deterministic. Pure.

use crate::domain::ids::PartitionId;
use std::collections::HashMap;

/// A member, by its name. One that is away (its stream broke, its grace runs) keeps what it has, within its share, and gets nothing
/// new: nobody would read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member<'a> {
    pub name: &'a str,
    pub away: bool,
}

/// A partition and the member that has it now, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned<'a> {
    pub partition: PartitionId,
    pub member: Option<&'a str>,
}

/// Assigns every partition to a member. Numbers of present members differ by at most one; a partition stays where it is unless
/// balance needs it to move. Empty when there are no members.
pub fn assign<'a>(members: &[Member<'a>], partitions: &[Owned<'_>]) -> Vec<(PartitionId, &'a str)> {
    let mut members: Vec<Member<'a>> = members.to_vec();
    members.sort_unstable();
    members.dedup_by_key(|member| member.name);
    if members.is_empty() {
        return Vec::new();
    }
    let find = |name: &str| members.binary_search_by_key(&name, |member| member.name).ok();
    let owner = |owned: &Owned<'_>| owned.member.and_then(find);
    let mut held = vec![0usize; members.len()];
    partitions.iter().filter_map(owner).for_each(|member| held[member] += 1);
    let quota = quotas(&members, &held, partitions.len());

    let mut kept = vec![0usize; members.len()];
    let mut placed: HashMap<PartitionId, usize> = HashMap::new();
    let mut homeless = Vec::new();
    for owned in partitions {
        match owner(owned).filter(|member| kept[*member] < quota[*member]) {
            Some(member) => {
                kept[member] += 1;
                placed.insert(owned.partition, member);
            }
            None => homeless.push(owned.partition),
        }
    }
    let mut free = (0..members.len()).flat_map(|member| std::iter::repeat_n(member, quota[member] - kept[member]));
    for partition in homeless {
        if let Some(member) = free.next() {
            placed.insert(partition, member);
        }
    }
    partitions
        .iter()
        .filter_map(|owned| Some((owned.partition, members[*placed.get(&owned.partition)?].name)))
        .collect()
}

/// How many each member gets: its share among all, and what those who are away do not have goes to the others.
fn quotas(members: &[Member<'_>], held: &[usize], partitions: usize) -> Vec<usize> {
    let everybody: Vec<usize> = (0..members.len()).collect();
    let share = partitions / members.len();
    // Whoever is away with one more than a share keeps it before anybody gets one: those who are present have more than a share as soon as
    // others are away, and would take it from them by the next assignment.
    let keeps = |member: usize| members[member].away && held[member] > share;
    let weights: Vec<usize> =
        everybody.iter().map(|member| held[*member] + if keeps(*member) { partitions } else { 0 }).collect();
    let mut quota = shares(&everybody, &weights, partitions);
    let present: Vec<usize> = everybody.iter().copied().filter(|member| !members[*member].away).collect();
    if present.is_empty() || present.len() == members.len() {
        return quota;
    }
    let mut left = partitions;
    for member in everybody.into_iter().filter(|member| members[*member].away) {
        quota[member] = quota[member].min(held[member]);
        left -= quota[member];
    }
    let shared = shares(&present, held, left);
    present.into_iter().for_each(|member| quota[member] = shared[member]);
    quota
}

/// Even shares among some of the members: those who hold most may keep one more when it does not come out even.
fn shares(among: &[usize], held: &[usize], partitions: usize) -> Vec<usize> {
    let (share, extra) = (partitions / among.len(), partitions % among.len());
    let mut order = among.to_vec();
    order.sort_by_key(|member| (std::cmp::Reverse(held[*member]), *member));
    let mut quota = vec![0; held.len()];
    order.iter().for_each(|member| quota[*member] = share);
    order.into_iter().take(extra).for_each(|member| quota[member] += 1);
    quota
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(members: &[Member<'_>], owners: &[Option<&str>]) -> Vec<String> {
        let partitions: Vec<Owned<'_>> = owners
            .iter()
            .enumerate()
            .map(|(index, member)| Owned { partition: PartitionId(index as i64), member: *member })
            .collect();
        assign(members, &partitions).into_iter().map(|(_, member)| member.to_owned()).collect()
    }

    fn present(name: &str) -> Member<'_> {
        Member { name, away: false }
    }

    #[test]
    fn a_newcomer_takes_only_its_share() {
        let owners = [Some("a"), Some("a"), Some("b"), Some("b"), Some("a"), Some("b")];
        let now = run(&["a", "b", "c"].map(present), &owners);
        let moved = now.iter().zip(owners).filter(|(now, before)| Some(now.as_str()) != *before).count();
        assert_eq!(moved, 2);
        assert_eq!(now.iter().filter(|member| *member == "c").count(), 2);
    }

    #[test]
    fn without_members_nothing_is_assigned() {
        assert!(run(&[], &[Some("a"), None]).is_empty());
    }

    #[test]
    fn a_member_that_is_away_keeps_its_share_and_gets_nothing_new() {
        let members = [present("a"), Member { name: "b", away: true }, present("c")];
        let now = run(&members, &[Some("b"), None, None, None, Some("b"), Some("b")]);
        assert_eq!(now, ["b", "a", "a", "c", "b", "c"]);
        // Nobody is there: whoever comes back first has what it had.
        let away = [Member { name: "a", away: true }, Member { name: "b", away: true }];
        assert_eq!(run(&away, &[Some("b"), Some("a")]), ["b", "a"]);
    }

    #[test]
    fn whoever_is_away_does_not_lose_to_those_who_have_what_others_do_not() {
        let away = |name| Member { name, away: true };
        let members = [present("a"), away("b"), away("c"), away("d")];
        let now = run(&members, &[Some("d"), Some("d"), None, None, None]);
        assert_eq!(now, ["d", "d", "a", "a", "a"]);
        assert_eq!(run(&members, &now.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>()), now);
    }

    proptest! {
        #[test]
        fn assignments_are_complete_balanced_and_stable(
            members in proptest::collection::btree_map("[a-f]{1,2}", proptest::bool::ANY, 1..8),
            owners in proptest::collection::vec(proptest::option::of("[a-h]{1,2}"), 0..40),
        ) {
            let members: Vec<Member<'_>> =
                members.iter().map(|(name, away)| Member { name, away: *away }).collect();
            let owners: Vec<Option<&str>> = owners.iter().map(Option::as_deref).collect();
            let now = run(&members, &owners);
            prop_assert_eq!(now.len(), owners.len());
            let count = |member: &Member<'_>| now.iter().filter(|name| *name == member.name).count();
            let everybody_away = members.iter().all(|member| member.away);
            let counts: Vec<usize> =
                members.iter().filter(|member| everybody_away || !member.away).map(count).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            for member in members.iter().filter(|member| member.away && !everybody_away) {
                let gained = now.iter().zip(&owners).filter(|(now, before)| *now == member.name && **before != Some(member.name));
                prop_assert_eq!(gained.count(), 0);
            }
            // Assigning again moves nothing.
            let again = run(&members, &now.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>());
            prop_assert_eq!(again, now);
        }
    }
}
