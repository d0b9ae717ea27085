//! Request ids, and the answers that are kept under them as they went over the wire.

use crate::catalogue::{Answer, Once};
use crate::domain::{Error, Result};
use prost::Message;
use sha2::{Digest, Sha256};
use tonic::{Response, Status};
use uuid::Uuid;

/// A request that happens once; `R` is what the outcome `T` looks like on the wire.
pub fn once<T, R>(method: &'static str, request_id: &str, request: &impl Message) -> Result<Once<T>>
where
    R: Message + for<'a> From<&'a T>,
{
    once_keeping(method, request_id, request, |outcome| R::from(outcome).encode_to_vec())
}

/// The same, when what a repeat is answered differs from what is answered first.
pub fn once_keeping<T>(
    method: &'static str,
    request_id: &str,
    request: &impl Message,
    kept: fn(&T) -> Vec<u8>,
) -> Result<Once<T>> {
    let id = match request_id {
        "" => None,
        text => Some(Uuid::try_parse(text).map_err(|_| Error::invalid("request_id", "must be a UUID, or empty"))?),
    };
    let fingerprint = Sha256::digest(request.encode_to_vec()).into();
    Ok(Once::new(id, method, fingerprint, kept))
}

/// The answer on the wire: of what happened just now, or as it was given before.
pub fn respond<T, R>(answer: &Answer<T>) -> Result<Response<R>, Status>
where
    R: Message + Default + for<'a> From<&'a T>,
{
    match answer {
        Answer::Fresh(outcome) => Ok(Response::new(R::from(outcome))),
        Answer::Repeated(stored) => Ok(Response::new(R::decode(stored.as_slice()).map_err(Error::internal)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Purged;
    use eventflow_proto::v1::{DeleteConsumerGroupRequest, PurgeStreamResponse};

    fn request(name: &str) -> DeleteConsumerGroupRequest {
        DeleteConsumerGroupRequest { name: name.to_owned(), ..Default::default() }
    }

    #[test]
    fn a_request_id_is_a_uuid_or_absent() {
        for good in ["", "0b0e8400-e29b-41d4-a716-446655440000"] {
            assert!(once::<Purged, PurgeStreamResponse>("Purge", good, &request("a")).is_ok(), "`{good}`");
        }
        for bad in ["x", "0b0e8400-e29b-41d4-a716", " "] {
            let error = once::<Purged, PurgeStreamResponse>("Purge", bad, &request("a")).expect_err(bad);
            assert_eq!(error.violations()[0].field, "request_id");
        }
    }

    #[test]
    fn a_stored_answer_reads_like_a_fresh_one() {
        let fresh: Response<PurgeStreamResponse> = respond(&Answer::Fresh(Purged { events: 7 })).expect("fresh");
        let stored = fresh.get_ref().encode_to_vec();
        let repeated: Response<PurgeStreamResponse> = respond(&Answer::<Purged>::Repeated(stored)).expect("stored");
        assert_eq!(fresh.into_inner(), repeated.into_inner());
    }
}
