//! One event: `orders/3@1024`, or `3@1024` where the stream is known.

use std::str::FromStr;

/// A partition and an offset, and the stream when it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub stream: Option<String>,
    pub partition: u32,
    pub offset: i64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no event: say STREAM/PARTITION@OFFSET, such as `orders/3@1024`");
        let (place, offset) = text.split_once('@').ok_or_else(wrong)?;
        let (stream, partition) = match place.trim().rsplit_once('/') {
            Some((stream, partition)) => (Some(stream.to_owned()), partition),
            None => (None, place.trim()),
        };
        let offset: i64 = offset.trim().parse().map_err(|_| wrong())?;
        if offset < 0 || stream.as_deref() == Some("") {
            return Err(wrong());
        }
        Ok(Self { stream, partition: partition.parse().map_err(|_| wrong())?, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_as_it_is_printed() {
        let place = |stream: Option<&str>| Place { stream: stream.map(str::to_owned), partition: 3, offset: 10 };
        assert_eq!("orders/3@10".parse(), Ok(place(Some("orders"))));
        assert_eq!("orders/3 @ 10".parse(), Ok(place(Some("orders"))), "with the spaces of `consume`");
        assert_eq!("3@10".parse(), Ok(place(None)));
        for bad in ["", "3", "orders/@1", "/3@1", "orders/3@-1", "orders/x@1", "orders/3@x"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
