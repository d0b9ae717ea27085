//! Whether an answer holds what a page shows of it.

use serde_json::Value;

/// Where an answer differs from what is shown, if it does. Objects may hold more than is shown, and so may lists that end
/// in `"…"`. In a string, `…` stands for anything, as at a time or an id.
pub fn difference(shown: &Value, answer: &Value) -> Option<String> {
    match (shown, answer) {
        (Value::Object(shown), Value::Object(answer)) => {
            shown.iter().find_map(|(name, value)| match answer.get(name) {
                Some(answer) => difference(value, answer).map(|rest| format!("{name}.{rest}")),
                None => Some(format!("{name} is missing")),
            })
        }
        (Value::Array(shown), Value::Array(answer)) => {
            let (shown, more) = match shown.split_last() {
                Some((last, before)) if last == "…" => (before, true),
                _ => (shown.as_slice(), false),
            };
            if answer.len() < shown.len() || (answer.len() > shown.len() && !more) {
                return Some(format!(" has {} elements", answer.len()));
            }
            let mut pairs = shown.iter().zip(answer).enumerate();
            pairs.find_map(|(index, (shown, answer))| difference(shown, answer).map(|rest| format!("[{index}].{rest}")))
        }
        (Value::String(shown), Value::String(answer)) if matches(shown, answer) => None,
        _ if shown == answer => None,
        _ => Some(format!(" is {answer}, not {shown}")),
    }
}

fn matches(shown: &str, answer: &str) -> bool {
    match shown.split_once('…') {
        None => shown == answer,
        Some((start, end)) => {
            answer.len() >= start.len() + end.len() && answer.starts_with(start) && answer.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn more_than_is_shown_is_no_difference_and_anything_else_is() {
        let answer = json!({"a": [{"id": "x-17", "n": 1}], "more": true});
        for shown in [json!({}), json!({"a": [{"id": "x-…"}]}), json!({"a": ["…"]}), json!({"a": [{"n": 1}, "…"]})]
        {
            assert_eq!(difference(&shown, &answer), None, "{shown}");
        }
        for shown in [
            json!({"a": [{"id": "y-…"}]}),
            json!({"a": []}),
            json!({"a": [{"n": 1}, {"n": 2}, "…"]}),
            json!({"b": 1}),
            json!({"a": [{"n": "1"}]}),
            json!({"more": false}),
        ] {
            assert!(difference(&shown, &answer).is_some(), "{shown}");
        }
    }
}
