//! Tells whoever watches groups that one has changed.

use crate::domain::ids::GroupId;
use tokio::sync::mpsc;

/// Where changes of groups are announced. Full or absent, it stays silent: the change is found by polling, a little later.
#[derive(Clone, Default)]
pub struct Changed {
    groups: Option<mpsc::Sender<GroupId>>,
}

impl Changed {
    pub fn new(groups: mpsc::Sender<GroupId>) -> Self {
        Self { groups: Some(groups) }
    }

    pub(super) fn group(&self, group: GroupId) {
        if let Some(groups) = &self.groups {
            let _ = groups.try_send(group);
        }
    }
}
