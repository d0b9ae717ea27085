//! Rows and lines as events. Pure, but for what it is handed.

use eventflow::Event;
use serde_json::{Map, Value};

use super::Fields;
use crate::parse;

/// Columns whose values are numbers in the payload. Everything else is a string: a table does not say which digits are names.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a>(pub &'a [&'a str]);

impl Numbers<'_> {
    /// A row as a JSON object. An empty field of a column of numbers is null.
    pub fn object(self, columns: &csv::StringRecord, row: &csv::StringRecord) -> Map<String, Value> {
        let cells = columns.iter().zip(row.iter());
        cells.map(|(column, text)| (column.to_owned(), self.value(column, text))).collect()
    }

    fn value(self, column: &str, text: &str) -> Value {
        if !self.0.contains(&column) {
            return Value::String(text.to_owned());
        }
        if text.is_empty() {
            return Value::Null;
        }
        let number = text.parse().ok().and_then(serde_json::Number::from_f64);
        number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
    }
}

/// A row of a table.
pub(super) fn of_csv(fields: &Fields, columns: &csv::StringRecord, row: &csv::StringRecord) -> Result<Event, String> {
    let object = Numbers(&[]).object(columns, row);
    let payload = Value::Object(object.clone()).to_string();
    with_columns(fields, fields.event(payload, true), &object)
}

/// A line of JSON. The payload is the line as it is.
pub(super) fn of_json(fields: &Fields, line: &str) -> Result<Event, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    let event = fields.event(line.to_owned(), true);
    match &value {
        _ if !fields.needs_rows() => Ok(event),
        Value::Object(object) => with_columns(fields, event, object),
        _ => Err("not a JSON object, so it has no fields for key, type or time".to_owned()),
    }
}

/// A line as it is.
pub(super) fn of_line(fields: &Fields, line: &str) -> Result<Event, String> {
    if fields.needs_rows() {
        return Err("plain lines have no columns: use --format csv or ndjson".to_owned());
    }
    Ok(fields.event(line.to_owned(), false))
}

fn with_columns(fields: &Fields, mut event: Event, object: &Map<String, Value>) -> Result<Event, String> {
    if let Some(column) = &fields.key_column {
        // A null is no key; an empty text is one.
        if let Some(key) = text(object, column)? {
            event = event.with_key(key);
        }
    }
    if let Some(column) = &fields.type_column {
        event = event.with_type(text(object, column)?.unwrap_or_default());
    }
    if let Some(column) = &fields.time_column
        && let Some(time) = text(object, column)?.filter(|text| !text.is_empty())
    {
        event = event.with_time(parse::time(&time)?);
    }
    match fields.idempotency_key.as_slice() {
        [] => {}
        [column] => {
            if let Some(key) = text(object, column)? {
                event = event.with_idempotency_key(key);
            }
        }
        columns => {
            let parts: Vec<Option<String>> =
                columns.iter().map(|column| text(object, column)).collect::<Result<_, _>>()?;
            // As JSON, so that no two rows with different columns have one key.
            event = event.with_idempotency_key(serde_json::json!(parts).to_string());
        }
    }
    Ok(event)
}

fn text(object: &Map<String, Value>, column: &str) -> Result<Option<String>, String> {
    match object.get(column) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Null) => Ok(None),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(_) => Err(format!("`{column}` is not a text, number or boolean")),
        None => {
            let known: Vec<&str> = object.keys().map(String::as_str).collect();
            Err(format!("there is no `{column}`; there are {}", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let column = |name: &str| Some(name.to_owned());
        Fields { key_column: column("id"), time_column: column("at"), ..Fields::default() }
    }

    #[test]
    fn a_row_becomes_an_object_and_keeps_its_zeros() {
        let columns = csv::StringRecord::from(vec!["id", "at", "size"]);
        let row = csv::StringRecord::from(vec!["007", "2016/01/01 00:30:04.91", "1.50"]);
        let event = of_csv(&fields(), &columns, &row).unwrap();
        assert_eq!(event.key(), Some("007"));
        assert_eq!(event.payload(), r#"{"id":"007","at":"2016/01/01 00:30:04.91","size":"1.50"}"#);
        assert!(event.time().is_some());
        let object = Numbers(&["size"]).object(&columns, &row);
        assert_eq!(object["size"], 1.5);
    }

    #[test]
    fn a_line_of_json_is_published_as_it_was_written() {
        let event = of_json(&fields(), r#"{ "id" : 7,  "at": null }"#).unwrap();
        assert_eq!((event.key(), event.time()), (Some("7"), None));
        assert_eq!(event.payload(), r#"{ "id" : 7,  "at": null }"#);
    }

    #[test]
    fn an_idempotency_key_comes_from_one_column_or_from_several() {
        let row = r#"{"id": "a,b", "at": null, "n": 7}"#;
        let key = |columns: &[&str]| {
            let idempotency_key = columns.iter().map(|column| (*column).to_owned()).collect();
            let fields = Fields { idempotency_key, ..Fields::default() };
            of_json(&fields, row).map(|event| event.idempotency_key().map(str::to_owned))
        };
        assert_eq!(key(&["n"]), Ok(Some("7".to_owned())));
        assert_eq!(key(&["at"]), Ok(None));
        assert_eq!(key(&["id", "at", "n"]), Ok(Some(r#"["a,b",null,"7"]"#.to_owned())));
        assert!(key(&["gone"]).is_err());
    }

    #[test]
    fn a_missing_column_is_named_with_those_that_exist() {
        let error = of_json(&fields(), r#"{"ID": 7, "at": null}"#).unwrap_err();
        assert_eq!(error, "there is no `id`; there are ID, at");
    }
}
