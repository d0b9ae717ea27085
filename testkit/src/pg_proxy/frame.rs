//! Messages as they stand on the wire.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Postgres itself refuses messages of a gigabyte.
const FRAME_BYTES_MAX: usize = 1 << 30;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// One message after the start of a session: a kind, a length, a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// With kind and length, ready to be forwarded.
    pub(super) bytes: Vec<u8>,
}

impl Frame {
    /// The next message, or `None` when the peer has finished.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>> {
        let mut bytes = vec![0; 5];
        if from.read(&mut bytes[..1]).await? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut bytes[1..]).await?;
        read_body(from, &mut bytes, 1).await?;
        Ok(Some(Frame { bytes }))
    }

    pub(super) fn kind(&self) -> u8 {
        self.bytes[0]
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.bytes[5..]
    }
}

/// What a client opens with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It asks for TLS or GSS encryption.
    Encryption,
    /// It wants to cancel another session's request.
    Cancel(Vec<u8>),
    /// It starts a session.
    Startup(Vec<u8>),
}

impl Opening {
    /// The next opening, or `None` when the client has gone.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Opening>> {
        let mut bytes = vec![0; 4];
        if from.read(&mut bytes[..1]).await? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut bytes[1..]).await?;
        read_body(from, &mut bytes, 0).await?;
        let code = bytes.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
        Ok(Some(match code {
            Some(SSL_REQUEST | GSS_REQUEST) => Opening::Encryption,
            Some(CANCEL_REQUEST) => Opening::Cancel(bytes),
            _ => Opening::Startup(bytes),
        }))
    }
}

/// Reads what the length at `offset` announces; the length counts itself.
async fn read_body(from: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>, offset: usize) -> Result<()> {
    let mut length = [0; 4];
    length.copy_from_slice(&bytes[offset..offset + 4]);
    let length = u32::from_be_bytes(length) as usize;
    if !(4..=FRAME_BYTES_MAX).contains(&length) {
        return Err(Error::new(ErrorKind::InvalidData, "not a Postgres message"));
    }
    let read = bytes.len();
    bytes.resize(offset + length, 0);
    from.read_exact(&mut bytes[read..]).await.map(|_| ())
}

/// The text up to the next zero, and what follows it.
pub(super) fn text(body: &[u8]) -> (String, &[u8]) {
    let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
    let text = String::from_utf8_lossy(&body[..end]).into_owned();
    (text, body.get(end + 1..).unwrap_or_default())
}
