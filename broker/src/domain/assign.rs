//! Which member of a group gets which partition: sticky, balanced, deterministic. Pure.

use crate::domain::ids::PartitionId;
use std::collections::HashMap;

/// A partition and the member that has it now, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned<'a> {
    pub partition: PartitionId,
    pub member: Option<&'a str>,
}

/// Assigns every partition to a member. Numbers differ by at most one; a partition stays where it is unless balance needs it to
/// move. Empty when there are no members.
pub fn assign<'a>(members: &[&'a str], partitions: &[Owned<'_>]) -> Vec<(PartitionId, &'a str)> {
    let mut members: Vec<&'a str> = members.to_vec();
    members.sort_unstable();
    members.dedup();
    if members.is_empty() {
        return Vec::new();
    }
    let owner = |owned: &Owned<'_>| owned.member.and_then(|name| members.binary_search(&name).ok());
    let mut held = vec![0usize; members.len()];
    partitions.iter().filter_map(owner).for_each(|member| held[member] += 1);
    let quota = quotas(&held, partitions.len());

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
    partitions.iter().filter_map(|owned| Some((owned.partition, members[*placed.get(&owned.partition)?]))).collect()
}

/// How many each member gets: those who hold most may keep one more when it does not come out even.
fn quotas(held: &[usize], partitions: usize) -> Vec<usize> {
    let (share, extra) = (partitions / held.len(), partitions % held.len());
    let mut order: Vec<usize> = (0..held.len()).collect();
    order.sort_by_key(|member| (std::cmp::Reverse(held[*member]), *member));
    let mut quota = vec![share; held.len()];
    order.into_iter().take(extra).for_each(|member| quota[member] += 1);
    quota
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(members: &[&str], owners: &[Option<&str>]) -> Vec<String> {
        let partitions: Vec<Owned<'_>> = owners
            .iter()
            .enumerate()
            .map(|(index, member)| Owned { partition: PartitionId(index as i64), member: *member })
            .collect();
        assign(members, &partitions).into_iter().map(|(_, member)| member.to_owned()).collect()
    }

    #[test]
    fn a_newcomer_takes_only_its_share() {
        let owners = [Some("a"), Some("a"), Some("b"), Some("b"), Some("a"), Some("b")];
        let now = run(&["a", "b", "c"], &owners);
        let moved = now.iter().zip(owners).filter(|(now, before)| Some(now.as_str()) != *before).count();
        assert_eq!(moved, 2);
        assert_eq!(now.iter().filter(|member| *member == "c").count(), 2);
    }

    #[test]
    fn without_members_nothing_is_assigned() {
        assert!(run(&[], &[Some("a"), None]).is_empty());
    }

    proptest! {
        #[test]
        fn assignments_are_complete_balanced_and_stable(
            members in proptest::collection::btree_set("[a-f]{1,2}", 1..8),
            owners in proptest::collection::vec(proptest::option::of("[a-h]{1,2}"), 0..40),
        ) {
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            let owners: Vec<Option<&str>> = owners.iter().map(Option::as_deref).collect();
            let now = run(&members, &owners);
            prop_assert_eq!(now.len(), owners.len());
            let counts: Vec<usize> =
                members.iter().map(|member| now.iter().filter(|name| name == member).count()).collect();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            // Assigning again moves nothing.
            let again = run(&members, &now.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>());
            prop_assert_eq!(again, now);
        }
    }
}
