//! What a payload can cost: a schema of a few lines may ask for more work than there is time in the world.
//!
//! Two things make validation explode. Definitions that refer to one another several times over unfold into a tree that is
//! exponentially larger than the text; and a recursion that comes back to the same place of a payload twice doubles the work at
//! every level of the payload. The first is bounded by counting the unfolded tree, the second is refused: the places at which a
//! schema comes back to itself must exclude one another. Then every value of a payload is looked at by at most
//! `SCHEMA_PARTS_MAX` subschemas.

use crate::domain::limits::SCHEMA_PARTS_MAX;
use crate::domain::schema::parts::{Step, applied, reference, resolve};
use serde_json::Value;

/// Places at which one schema may come back to itself.
const RECURSIONS_MAX: usize = 128;

struct Walk<'a> {
    root: &'a Value,
    parts: usize,
    /// References that lead to where the walk is.
    entered: Vec<&'a Value>,
    /// Where in a payload the walk is.
    place: Vec<Step>,
    recursions: Vec<Vec<Step>>,
}

/// Why a schema is too much, if it is.
pub(super) fn too_much(root: &Value) -> Option<String> {
    let mut walk = Walk { root, parts: 0, entered: vec![root], place: Vec::new(), recursions: Vec::new() };
    walk.visit(root, 1).err().or_else(|| walk.overlap())
}

impl<'a> Walk<'a> {
    fn visit(&mut self, schema: &'a Value, weight: usize) -> Result<(), String> {
        self.parts = self.parts.saturating_add(weight);
        if self.parts > SCHEMA_PARTS_MAX {
            return Err(format!("has more than {SCHEMA_PARTS_MAX} subschemas when its references are written out"));
        }
        let Some(object) = schema.as_object() else { return Ok(()) };
        if let Some(target) = reference(object).and_then(|reference| resolve(self.root, reference)) {
            self.follow(target, weight)?;
        }
        // What is unevaluated is found by evaluating the neighbours once more.
        let again = ["unevaluatedProperties", "unevaluatedItems"].iter().any(|keyword| object.contains_key(*keyword));
        let weight = if again { weight.saturating_mul(2) } else { weight };
        for part in applied(object) {
            let here = part.step == Step::Here;
            if !here {
                self.place.push(part.step);
            }
            self.visit(part.schema, weight)?;
            if !here {
                self.place.pop();
            }
        }
        Ok(())
    }

    fn follow(&mut self, target: &'a Value, weight: usize) -> Result<(), String> {
        if self.entered.iter().any(|entered| std::ptr::eq(*entered, target)) {
            self.recursions.push(self.place.clone());
            if self.recursions.len() > RECURSIONS_MAX {
                return Err(format!("comes back to itself in more than {RECURSIONS_MAX} places"));
            }
            return Ok(());
        }
        self.entered.push(target);
        self.visit(target, weight)?;
        self.entered.pop();
        Ok(())
    }

    /// Two recursions that can reach the same value of a payload, one of them perhaps on the way to the other.
    fn overlap(&self) -> Option<String> {
        for (index, one) in self.recursions.iter().enumerate() {
            if one.is_empty() {
                return Some("refers to itself without going deeper into the payload".to_owned());
            }
            for other in &self.recursions[index + 1..] {
                if one.iter().zip(other).all(|(left, right)| meets(left, right)) {
                    return Some(
                        "comes back to itself twice at the same place of a payload, which could take for ever"
                            .to_owned(),
                    );
                }
            }
        }
        None
    }
}

fn meets(left: &Step, right: &Step) -> bool {
    match (left, right) {
        (Step::AnyProperty, Step::Property(_) | Step::AnyProperty) | (Step::Property(_), Step::AnyProperty) => true,
        (left, right) => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trees_and_lists_may_refer_to_themselves() {
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        let list =
            json!({"$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"});
        let any = json!({"additionalProperties": {"$ref": "#"}, "items": {"$ref": "#"}});
        for schema in [tree, list, any] {
            assert_eq!(too_much(&schema), None, "{schema}");
        }
    }

    #[test]
    fn a_recursion_that_doubles_the_work_at_every_level_is_refused() {
        let child = json!({"properties": {"a": {"$ref": "#"}}});
        let grandchild = json!({"properties": {"a": {"properties": {"a": {"$ref": "#"}}}}});
        for branches in [[&child, &child], [&child, &grandchild]] {
            let schema = json!({"anyOf": branches});
            assert!(too_much(&schema).expect("refused").contains("twice"), "{schema}");
        }
        let both = json!({"properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a": {"$ref": "#"}}});
        assert!(too_much(&both).expect("refused").contains("twice"));
        assert!(too_much(&json!({"allOf": [{"$ref": "#"}]})).expect("refused").contains("deeper"));
    }

    #[test]
    fn definitions_that_unfold_into_too_many_are_refused() {
        let mut definitions = serde_json::Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            definitions.insert(format!("d{level}"), json!({"anyOf": [next, next]}));
        }
        definitions.insert("d40".into(), json!({"type": "string"}));
        let schema = json!({"$defs": definitions, "$ref": "#/$defs/d0"});
        assert!(too_much(&schema).expect("refused").contains("10000"));
    }

    #[test]
    fn nested_unevaluated_keywords_count_twice_at_every_level() {
        let mut schema = json!({"type": "object"});
        for _ in 0..14 {
            schema = json!({"allOf": [schema], "unevaluatedProperties": false});
        }
        assert!(too_much(&schema).expect("refused").contains("10000"));
    }
}
