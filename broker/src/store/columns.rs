//! Postgres's binary form of arrays and composites, written and read without copies of the elements.

use bytes::{BufMut, BytesMut};
use postgres_types::{IsNull, Kind, Type};
use std::error::Error as StdError;
use uuid::Uuid;

/// Writes `items` as an array of the composite type that `ty` is an array of.
pub fn composite_array<T>(
    ty: &Type,
    items: &[T],
    out: &mut BytesMut,
    write: impl Fn(&T, &mut RecordWriter<'_>),
) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
    let Kind::Array(element) = ty.kind() else {
        return Err("expected an array of a composite type".into());
    };
    let Kind::Composite(fields) = element.kind() else {
        return Err("expected an array of a composite type".into());
    };
    array_header(out, element.oid(), items.len());
    for item in items {
        let start = begin(out);
        out.put_i32(fields.len() as i32);
        let mut record = RecordWriter { out, fields: fields.iter() };
        write(item, &mut record);
        if record.fields.next().is_some() {
            return Err("the composite type has more fields than were written".into());
        }
        end(out, start);
    }
    Ok(IsNull::No)
}

/// Writes one value of a composite type.
pub fn composite(
    ty: &Type,
    out: &mut BytesMut,
    write: impl FnOnce(&mut RecordWriter<'_>),
) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
    let Kind::Composite(fields) = ty.kind() else {
        return Err("expected a composite type".into());
    };
    out.put_i32(fields.len() as i32);
    let mut record = RecordWriter { out, fields: fields.iter() };
    write(&mut record);
    match record.fields.next() {
        Some(_) => Err("the composite type has more fields than were written".into()),
        None => Ok(IsNull::No),
    }
}

/// Writes the fields of one composite value, in order; the field's own type decides the element type of arrays.
pub struct RecordWriter<'a> {
    out: &'a mut BytesMut,
    fields: std::slice::Iter<'a, postgres_types::Field>,
}

impl RecordWriter<'_> {
    fn field(&mut self) -> u32 {
        // Writing more fields than the type has produces a value that Postgres refuses.
        let oid = self.fields.next().map_or(0, |field| field.type_().oid());
        self.out.put_u32(oid);
        oid
    }

    pub fn null(&mut self) {
        self.field();
        self.out.put_i32(-1);
    }

    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.field();
        self.out.put_i32(value.len() as i32);
        self.out.put_slice(value);
    }

    pub fn int4(&mut self, value: i32) {
        self.field();
        self.out.put_i32(4);
        self.out.put_i32(value);
    }

    pub fn int8(&mut self, value: i64) {
        self.field();
        self.out.put_i32(8);
        self.out.put_i64(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.field();
        self.out.put_i32(1);
        self.out.put_u8(value.into());
    }

    pub fn opt_int8(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.int8(value),
            None => self.null(),
        }
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.field();
        self.out.put_i32(16);
        self.out.put_slice(value.as_bytes());
    }

    /// An array of `count` elements, which `write` puts one after the other.
    pub fn array(&mut self, count: usize, write: impl FnOnce(&mut ArrayWriter<'_>)) {
        let element = match self.fields.clone().next().map(|field| field.type_().kind()) {
            Some(Kind::Array(element)) => element.oid(),
            _ => 0,
        };
        self.field();
        let start = begin(self.out);
        array_header(self.out, element, count);
        write(&mut ArrayWriter { out: self.out });
        end(self.out, start);
    }
}

/// Writes the elements of an array.
pub struct ArrayWriter<'a> {
    out: &'a mut BytesMut,
}

impl ArrayWriter<'_> {
    pub fn null(&mut self) {
        self.out.put_i32(-1);
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.out.put_i32(value.len() as i32);
        self.out.put_slice(value);
    }

    pub fn text(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.null(),
        }
    }

    pub fn int4(&mut self, value: i32) {
        self.out.put_i32(4);
        self.out.put_i32(value);
    }

    pub fn int8(&mut self, value: i64) {
        self.out.put_i32(8);
        self.out.put_i64(value);
    }
}

fn array_header(out: &mut BytesMut, element: u32, count: usize) {
    if count == 0 {
        out.put_i32(0);
        out.put_i32(0);
        out.put_u32(element);
        return;
    }
    out.put_i32(1);
    out.put_i32(1);
    out.put_u32(element);
    out.put_i32(count as i32);
    out.put_i32(1);
}

fn begin(out: &mut BytesMut) -> usize {
    out.put_i32(0);
    out.len()
}

fn end(out: &mut BytesMut, start: usize) {
    let length = (out.len() - start) as i32;
    out[start - 4..start].copy_from_slice(&length.to_be_bytes());
}

/// The elements of a one-dimensional array in binary form, borrowed from the row.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    fn parse(raw: &'a [u8]) -> Option<Self> {
        let dimensions = i32::from_be_bytes(raw.get(0..4)?.try_into().ok()?);
        if dimensions == 0 {
            return Some(Self { rest: &[], left: 0 });
        }
        let count = i32::from_be_bytes(raw.get(12..16)?.try_into().ok()?);
        (dimensions == 1).then_some(Self { rest: raw.get(20..)?, left: usize::try_from(count).ok()? })
    }

    pub fn len(&self) -> usize {
        self.left
    }

    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Elements<'a> {
    /// None is a null element.
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (length, rest) = self.rest.split_at_checked(4)?;
        let length = i32::from_be_bytes(length.try_into().ok()?);
        let Ok(length) = usize::try_from(length) else {
            self.rest = rest;
            return Some(None);
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Some(value))
    }
}

impl<'a> postgres_types::FromSql<'a> for Elements<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Elements::parse(raw).ok_or_else(|| "not a one-dimensional array".into())
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Array(_))
    }
}
