//! The grammar, by recursive descent:
//!
//! ```text
//! any     = all { "or" all }
//! all     = term { "and" term }
//! term    = "not" term | "(" any ")" | "exists" "(" operand ")" | operand rest
//! rest    = operator operand | "in" "[" literal { "," literal } "]"
//! operand = "type" | "key" | "content_type" | "header" "[" text "]" | "payload" { "." name | "[" text-or-index "]" } | literal
//! literal = text | number | "true" | "false" | "null"
//! ```

use super::value::Step;
use crate::domain::limits::{FILTER_DEPTH_MAX, FILTER_TERMS_MAX};

#[derive(Debug, PartialEq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Compare(Operand, Operator, Operand),
    In(Operand, Vec<Operand>),
    Exists(Operand),
}

#[derive(Debug, PartialEq)]
pub(super) enum Operand {
    Type,
    Key,
    ContentType,
    Header(String),
    Payload(Vec<Step>),
    Text(String),
    Number(f64),
    Flag(bool),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    StartsWith,
    EndsWith,
    Contains,
}

/// The longer ones first: `<` begins `<=`.
const SIGNS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("<", Operator::Less),
    (">", Operator::Greater),
];
const WORDS: [(&str, Operator); 3] =
    [("starts_with", Operator::StartsWith), ("ends_with", Operator::EndsWith), ("contains", Operator::Contains)];

/// What is wrong, and at which byte.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) why: String,
}

type Parsed<T> = Result<T, Wrong>;

pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    terms: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0, terms: 0 }
    }

    pub(super) fn whole(mut self) -> Parsed<Expression> {
        let expression = self.any()?;
        self.space();
        if self.at == self.text.len() { Ok(expression) } else { self.wrong("expected `and`, `or`, or the end") }
    }

    fn any(&mut self) -> Parsed<Expression> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return self.wrong(format!("it is nested more than {FILTER_DEPTH_MAX} deep"));
        }
        let mut parts = vec![self.all()?];
        while self.word("or") {
            parts.push(self.all()?);
        }
        self.depth -= 1;
        Ok(one_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Parsed<Expression> {
        let mut parts = vec![self.term()?];
        while self.word("and") {
            parts.push(self.term()?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn term(&mut self) -> Parsed<Expression> {
        let mut negations = 0usize;
        while self.word("not") {
            negations += 1;
        }
        self.terms += 1;
        if self.terms > FILTER_TERMS_MAX {
            return self.wrong(format!("it has more than {FILTER_TERMS_MAX} terms"));
        }
        let term = if self.sign("(") {
            let inner = self.any()?;
            self.expect(")")?;
            inner
        } else if self.word("exists") {
            self.expect("(")?;
            let operand = self.operand()?;
            self.expect(")")?;
            Expression::Exists(operand)
        } else {
            self.comparison()?
        };
        Ok(if negations % 2 == 1 { Expression::Not(Box::new(term)) } else { term })
    }

    fn comparison(&mut self) -> Parsed<Expression> {
        let left = self.operand()?;
        if self.word("in") {
            self.expect("[")?;
            let mut literals = vec![self.literal()?];
            while self.sign(",") {
                self.terms += 1;
                if self.terms > FILTER_TERMS_MAX {
                    return self.wrong(format!("it has more than {FILTER_TERMS_MAX} terms"));
                }
                literals.push(self.literal()?);
            }
            self.expect("]")?;
            return Ok(Expression::In(left, literals));
        }
        let sign = SIGNS.iter().find(|(sign, _)| self.sign(sign));
        match sign.or_else(|| WORDS.iter().find(|(word, _)| self.word(word))) {
            Some((_, operator)) => Ok(Expression::Compare(left, *operator, self.operand()?)),
            None => {
                self.wrong("expected `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `starts_with`, `ends_with` or `contains`")
            }
        }
    }

    fn operand(&mut self) -> Parsed<Operand> {
        if self.word("type") {
            return Ok(Operand::Type);
        }
        if self.word("key") {
            return Ok(Operand::Key);
        }
        if self.word("content_type") {
            return Ok(Operand::ContentType);
        }
        if self.word("header") {
            self.expect("[")?;
            let name = self.text()?;
            self.expect("]")?;
            return Ok(Operand::Header(name));
        }
        if self.word("payload") { Ok(Operand::Payload(self.path()?)) } else { self.literal() }
    }

    fn path(&mut self) -> Parsed<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.sign(".") {
                let name = self.name();
                if name.is_empty() {
                    return self.wrong("expected a name; write others as `[\"…\"]`");
                }
                steps.push(Step::Name(name.to_owned()));
            } else if self.sign("[") {
                self.space();
                if self.rest().starts_with(['"', '\'']) {
                    steps.push(Step::Name(self.text()?));
                } else {
                    let digits = self.take(|letter| letter.is_ascii_digit());
                    match digits.parse() {
                        Ok(index) => steps.push(Step::Index(index)),
                        Err(_) => return self.wrong("expected a text or an index"),
                    }
                }
                self.expect("]")?;
            } else {
                return Ok(steps);
            }
        }
    }

    fn literal(&mut self) -> Parsed<Operand> {
        self.space();
        if self.rest().starts_with(['"', '\'']) {
            return Ok(Operand::Text(self.text()?));
        }
        for (word, operand) in [("true", Operand::Flag(true)), ("false", Operand::Flag(false)), ("null", Operand::Null)]
        {
            if self.word(word) {
                return Ok(operand);
            }
        }
        let start = self.at;
        let number = self.take(|letter| letter.is_ascii_digit() || "+-.eE".contains(letter));
        match number.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Operand::Number(number)),
            _ => {
                self.at = start;
                self.wrong("expected `type`, `key`, `content_type`, `header[\"…\"]`, `payload…`, a text, a number, `true`, `false` or `null`")
            }
        }
    }

    /// A text in double or single quotes, with `\\` before quotes and itself.
    fn text(&mut self) -> Parsed<String> {
        self.space();
        let start = self.at;
        let mut letters = self.rest().chars();
        let Some(quote) = letters.next().filter(|letter| matches!(letter, '"' | '\'')) else {
            return self.wrong("expected a text in quotes");
        };
        let mut text = String::new();
        loop {
            match letters.next() {
                Some(letter) if letter == quote => break,
                Some('\\') => match letters.next() {
                    Some(letter @ ('"' | '\'' | '\\')) => text.push(letter),
                    _ => {
                        self.at = self.text.len() - letters.as_str().len();
                        return self.wrong("only quotes and `\\` may follow a `\\`");
                    }
                },
                Some(letter) => text.push(letter),
                None => {
                    self.at = start;
                    return self.wrong("this text does not end");
                }
            }
        }
        self.at = self.text.len() - letters.as_str().len();
        Ok(text)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|letter| !wanted(letter)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn name(&mut self) -> &'a str {
        self.take(|letter| letter.is_alphanumeric() || letter == '_' || letter == '-')
    }

    /// A sign, if it comes next.
    fn sign(&mut self, sign: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    /// A whole word, if it comes next.
    fn word(&mut self, word: &str) -> bool {
        self.space();
        let rest = self.rest();
        let ends = rest[word.len().min(rest.len())..].chars().next();
        let found = rest.starts_with(word) && !ends.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.sign(sign) { Ok(()) } else { self.wrong(format!("expected `{sign}`")) }
    }

    fn wrong<T>(&mut self, why: impl Into<String>) -> Parsed<T> {
        self.space();
        Err(Wrong { at: self.at, why: why.into() })
    }
}

fn one_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            many(parts)
        }
    }
}
