//! How many messages of each kind have passed.

/// Messages and sessions since the proxy's start. A message counts when it has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub open: u64,
    pub cancels: u64,
    pub queries: u64,
    pub parses: u64,
    pub binds: u64,
    pub executes: u64,
    pub syncs: u64,
    pub command_completes: u64,
    pub errors: u64,
    pub ready_for_queries: u64,
}

impl Counts {
    pub(super) fn frontend(&mut self, kind: u8) {
        match kind {
            b'Q' => self.queries += 1,
            b'P' => self.parses += 1,
            b'B' => self.binds += 1,
            b'E' => self.executes += 1,
            b'S' => self.syncs += 1,
            _ => {}
        }
    }

    pub(super) fn backend(&mut self, kind: u8) {
        match kind {
            b'C' => self.command_completes += 1,
            b'E' => self.errors += 1,
            b'Z' => self.ready_for_queries += 1,
            _ => {}
        }
    }
}
