use super::*;
use serde_json::json;

fn definition(schema: &Value) -> Definition {
    Definition::parse("definition", &schema.to_string()).unwrap_or_else(|error| panic!("{schema}: {error:?}"))
}

/// Pointers of what keeps `reader` from accepting all that `writer` accepts; those not decided end in `?`.
fn against(reader: &Value, writer: &Value) -> Vec<String> {
    let problems = covers(Direction::Backward, &definition(reader), &definition(writer));
    let mark = |problem: Problem| format!("{}{}", problem.pointer, if problem.undecided { "?" } else { "" });
    problems.into_iter().map(mark).collect()
}

#[test]
fn what_is_wider_accepts_what_is_narrower_and_not_the_other_way_round() {
    let closed = |properties: Value| json!({"type": "object", "properties": properties, "additionalProperties": false});
    let cases = [
        (json!(true), json!({"type": "string"}), "/type"),
        (json!({"type": ["string", "null"]}), json!({"type": "string"}), "/type"),
        (json!({"type": "number"}), json!({"type": "integer"}), "/type"),
        (json!({"enum": [1, 2, 3]}), json!({"enum": [1, 3]}), "/enum"),
        (json!({"type": "string"}), json!({"const": "a"}), "/const"),
        (json!({"type": "string"}), json!({"type": "string", "maxLength": 5}), "/maxLength"),
        (json!({"type": "string", "minLength": 1}), json!({"type": "string", "minLength": 2}), "/minLength"),
        (json!({"minimum": 1}), json!({"minimum": 2}), "/minimum"),
        (json!({"minimum": 1}), json!({"exclusiveMinimum": 1}), "/exclusiveMinimum"),
        (json!({"maximum": 9_007_199_254_740_993_i64}), json!({"maximum": 9_007_199_254_740_992_i64}), "/maximum"),
        (json!({"multipleOf": 2}), json!({"multipleOf": 6}), "/multipleOf"),
        (json!({"items": {"type": "number"}}), json!({"items": {"type": "integer"}}), "/items/type"),
        (json!({}), json!({"uniqueItems": true}), "/uniqueItems"),
        (json!({}), json!({"required": ["a"]}), "/required"),
        (json!({"properties": {"a": {}}}), json!({"properties": {"a": {"type": "null"}}}), "/properties/a/type"),
        (closed(json!({"a": {}, "b": {"type": "string"}})), closed(json!({"a": {}})), "/additionalProperties"),
        (json!({"type": "object"}), closed(json!({})), "/additionalProperties"),
    ];
    for (wide, narrow, pointer) in cases {
        assert_eq!(against(&wide, &narrow), Vec::<String>::new(), "{wide} over {narrow}");
        assert_eq!(against(&narrow, &wide)[0], pointer, "{narrow} over {wide}");
    }
}

#[test]
fn a_new_optional_property_is_safe_only_where_others_were_refused() {
    let new = json!({"properties": {"a": {"type": "string"}}});
    assert_eq!(against(&new, &json!({"type": "object"})), ["/properties/a/type"]);
    assert_eq!(against(&new, &json!({"additionalProperties": false})), Vec::<String>::new());
    assert_eq!(against(&new, &json!({"additionalProperties": {"const": "x"}})), Vec::<String>::new());
    // A pattern may match the name.
    let patterned = json!({"patternProperties": {"^a": {}}, "additionalProperties": false});
    assert_eq!(against(&new, &patterned), ["/properties/a/type"]);
}

#[test]
fn what_is_not_understood_must_stay_and_is_said_to_be_undecided() {
    let cases = [
        (json!({"pattern": "^a"}), json!({"pattern": "^ab"}), "/pattern?"),
        (json!({"format": "date"}), json!({"format": "date-time"}), "/format?"),
        (json!({"oneOf": [{"type": "string"}, {"type": "number"}]}), json!({"type": "string"}), "/oneOf?"),
        (json!({"not": {"type": "string"}}), json!({"type": "number"}), "/not?"),
        (json!({"if": {"const": 1}, "then": false}), json!({"if": {"const": 1}, "then": true}), "/if?"),
        (json!({"dependentRequired": {"a": ["b"]}}), json!({}), "/dependentRequired?"),
        (json!({"prefixItems": [{"type": "string"}]}), json!({"prefixItems": [{"type": "number"}]}), "/prefixItems?"),
        (json!({"contains": {"const": 1}, "minContains": 2}), json!({"contains": {"const": 1}}), "/contains?"),
        (
            json!({"unevaluatedProperties": false}),
            json!({"properties": {"a": {}}, "unevaluatedProperties": false}),
            "/unevaluatedProperties?",
        ),
        (
            json!({"unevaluatedItems": false}),
            json!({"contains": {"const": 1}, "unevaluatedItems": false}),
            "/unevaluatedItems?",
        ),
        (
            json!({"additionalProperties": false}),
            json!({"patternProperties": {"^a": {}}, "additionalProperties": false}),
            "/additionalProperties?",
        ),
        (json!({"multipleOf": 0.5}), json!({"multipleOf": 1.5}), "/multipleOf?"),
        (json!({"anyOf": [{"minLength": 3}, {"maxLength": 1}]}), json!({"minLength": 1}), "/anyOf?"),
    ];
    for (reader, writer, pointer) in cases {
        assert_eq!(against(&reader, &writer), [pointer], "{reader} over {writer}");
        assert_eq!(against(&reader, &reader), Vec::<String>::new(), "{reader} over itself");
    }
}

#[test]
fn alternatives_are_accepted_one_by_one() {
    let two = json!({"anyOf": [{"type": "string"}, {"type": "integer"}]});
    assert_eq!(against(&two, &json!({"type": "string"})), Vec::<String>::new());
    assert_eq!(against(&json!({"type": ["string", "number"]}), &two), Vec::<String>::new());
    assert_eq!(against(&json!({"type": "string"}), &two), ["/type"]);
    assert_eq!(
        against(&json!({"anyOf": [{"type": "null"}, {"type": ["integer", "string"]}]}), &two),
        Vec::<String>::new()
    );
    let both = json!({"allOf": [{"minLength": 1}, {"maxLength": 3}]});
    assert_eq!(against(&both, &json!({"minLength": 2, "maxLength": 4})), ["/allOf/1/maxLength"]);
    // One of the writer's own is ignored, which only makes it wider.
    assert_eq!(against(&json!({"minLength": 1}), &both), ["/minLength"]);
}

#[test]
fn references_are_followed_on_both_sides_even_in_circles() {
    let tree = |value: Value| {
        let node = json!({"properties": {"value": value, "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}},
            "additionalProperties": false});
        json!({"$defs": {"node": node}, "$ref": "#/$defs/node"})
    };
    let (wide, narrow) = (tree(json!({"type": "number"})), tree(json!({"type": "integer"})));
    assert_eq!(against(&wide, &narrow), Vec::<String>::new());
    assert_eq!(against(&narrow, &wide), ["/properties/value/type"]);
    // The same reference, another definition.
    let of = |kind: &str| json!({"$defs": {"id": {"type": kind}}, "properties": {"id": {"$ref": "#/$defs/id"}}});
    assert_eq!(against(&of("string"), &of("integer")), ["/properties/id/type"]);
    let beside = json!({"$defs": {"id": {}}, "properties": {"id": {"$ref": "#/$defs/id", "minLength": 1}}});
    assert_eq!(against(&beside, &of("string")), ["/properties/id?"]);
}

#[test]
fn other_drafts_are_not_compared_and_full_looks_both_ways() {
    let seven = json!({"$schema": "http://json-schema.org/draft-07/schema#"});
    assert_eq!(against(&seven, &json!({})), ["/$schema?"]);
    let (old, new) = (definition(&json!({"minLength": 1})), definition(&json!({"maxLength": 9})));
    let directions = |mode| problems(mode, &old, &new).into_iter().map(|problem| problem.direction).collect::<Vec<_>>();
    assert_eq!(directions(Compatibility::None), []);
    assert_eq!(directions(Compatibility::Backward), [Direction::Backward]);
    assert_eq!(directions(Compatibility::Forward), [Direction::Forward]);
    assert_eq!(directions(Compatibility::Full), [Direction::Backward, Direction::Forward]);
}
