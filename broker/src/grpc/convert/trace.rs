//! The trace of a call, as W3C Trace Context has it, on its way into the events that the call publishes.

use tonic::metadata::MetadataMap;

/// Names of the call's metadata, and of the events' headers.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// What propagators must pass on; a longer list is left out.
const TRACESTATE_BYTES_MAX: usize = 512;

/// A trace that is well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub parent: String,
    pub state: Option<String>,
}

impl Trace {
    /// The trace of a call, when it carries one. A malformed one is nobody's.
    pub fn of(metadata: &MetadataMap) -> Option<Self> {
        let parent = metadata.get(TRACEPARENT)?.to_str().ok().filter(|text| is_parent(text))?.to_owned();
        let lists = metadata.get_all(TRACESTATE).iter().map(|list| list.to_str());
        let state = lists.collect::<Result<Vec<&str>, _>>().map(|lists| lists.join(",")).unwrap_or_default();
        let usable = !state.is_empty() && state.len() <= TRACESTATE_BYTES_MAX;
        Some(Self { parent, state: usable.then_some(state) })
    }

    /// The headers that carry it, the more important one first.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [(TRACEPARENT, Some(self.parent.as_str())), (TRACESTATE, self.state.as_deref())]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// The trace id of an event that was published within a trace.
pub fn trace_id(headers: &[eventflow_proto::v1::Header]) -> Option<&str> {
    let parent = headers.iter().find(|header| header.name == TRACEPARENT)?.value.as_str();
    parent.split('-').nth(1).filter(|_| is_parent(parent))
}

/// `version-trace_id-parent_id-flags`, in lower-case hexadecimal digits; later versions may have more behind.
fn is_parent(text: &str) -> bool {
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let id = |text: &str, len| hex(text, len) && text.bytes().any(|b| b != b'0');
    let mut parts = text.splitn(5, '-');
    let mut next = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags, more) = (next(), next(), next(), next(), next());
    let known = hex(version, 2) && version != "ff" && (version != "00" || more.is_empty());
    known && text.len() <= 128 && id(trace, 32) && id(parent, 16) && hex(flags, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(pairs: &[(&'static str, &str)]) -> Option<Trace> {
        let mut metadata = MetadataMap::new();
        for (name, value) in pairs {
            metadata.append(*name, value.parse().expect("a value"));
        }
        Trace::of(&metadata)
    }

    #[test]
    fn a_well_formed_trace_is_taken_and_its_lists_are_joined() {
        let trace = of(&[(TRACEPARENT, PARENT), (TRACESTATE, "a=1"), (TRACESTATE, "b=2")]).expect("a trace");
        assert_eq!((trace.parent.as_str(), trace.state.as_deref()), (PARENT, Some("a=1,b=2")));
        assert_eq!(trace.headers().count(), 2);
        assert_eq!(of(&[(TRACEPARENT, PARENT)]).expect("a trace").headers().count(), 1);
        assert_eq!(of(&[(TRACEPARENT, PARENT), (TRACESTATE, &"x".repeat(513))]).expect("a trace").state, None);
    }

    #[test]
    fn a_malformed_trace_is_left_out() {
        let zeros = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let upper = PARENT.to_uppercase();
        let longer = format!("{PARENT}-more");
        for bad in ["", "00", "00-x-y-01", &PARENT[1..], &zeros, &upper, &longer, &PARENT.replace("00-", "ff-")] {
            assert_eq!(of(&[(TRACEPARENT, bad)]), None, "{bad}");
        }
        assert!(of(&[(TRACEPARENT, &longer.replacen("00-", "01-", 1))]).is_some(), "a later version may say more");
        assert_eq!(of(&[(TRACESTATE, "a=1")]), None, "nothing without a parent");
    }

    #[test]
    fn an_event_knows_the_trace_of_its_publish() {
        let header = |value: &str| eventflow_proto::v1::Header { name: TRACEPARENT.into(), value: value.into() };
        assert_eq!(trace_id(&[header(PARENT)]), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(trace_id(&[header("00-xyz-b7ad6b7169203331-01")]), None);
        assert_eq!(trace_id(&[]), None);
    }
}
