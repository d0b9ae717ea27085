//! What a schema costs an event: parsing 1,000 B of JSON and asking the compiled schema, without anything around it.

use std::time::Instant;

use eventflow_broker::domain::schema::Definition;

use super::Step;
use crate::Result;
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

/// An order as the generator makes it: every field has a type, some a range or a pattern, and nothing else is allowed.
const ORDER: &str = r##"{
    "type": "object", "additionalProperties": false, "required": ["order_id", "customer", "total", "currency", "items"],
    "properties": {
        "order_id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "customer": {"type": "integer", "minimum": 1},
        "total": {"type": "number", "minimum": 0},
        "currency": {"enum": ["EUR", "USD"]},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "note": {"type": "string", "maxLength": 1000}
    },
    "$defs": {"item": {
        "type": "object", "additionalProperties": false, "required": ["sku", "quantity", "price"],
        "properties": {
            "sku": {"type": "string", "minLength": 8, "maxLength": 8},
            "quantity": {"type": "integer", "minimum": 1},
            "price": {"type": "integer", "minimum": 0}
        }
    }}
}"##;

pub fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    let validator = Definition::parse("definition", ORDER)?.compile()?;
    let mut pool = Pool::new(Kind::Json, 1_000);
    let (began, mut events) = (Instant::now(), 0u32);
    // Half a second says enough: nothing is waited for.
    while began.elapsed() < step.span.min(std::time::Duration::from_millis(500)) {
        for _ in 0..1_000 {
            let faults = validator.faults(&pool.next());
            if let Some(fault) = faults.first() {
                return Err(format!("a payload of the generator breaks its schema: {fault:?}").into());
            }
        }
        events += 1_000;
    }
    let micros = began.elapsed().as_secs_f64() * 1e6 / f64::from(events);
    Ok(vec![Sample::new("schema_check", micros).with("events", events)])
}
