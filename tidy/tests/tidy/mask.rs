//! Tells Rust code from comments and literals, well enough to count braces and to find words.

/// A Rust file in two halves. Both keep the line breaks, so that lines can be told.
#[derive(Default)]
pub struct Masked {
    /// The code; every other character is a blank.
    pub code: String,
    /// The string literals, each with the line on which it starts.
    pub literals: Vec<Literal>,
}

pub struct Literal {
    pub line: usize,
    pub text: String,
}

pub fn mask(source: &str) -> Masked {
    let mut masked = Masked::default();
    let mut rest = source;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let length = match opaque_length(rest, after_word) {
            Some((length, is_string)) => {
                if is_string {
                    let line = masked.code.matches('\n').count() + 1;
                    masked.literals.push(Literal { line, text: rest[..length].to_owned() });
                }
                masked.code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                length
            }
            None => {
                masked.code.push(if first.is_ascii() { first } else { '_' });
                first.len_utf8()
            }
        };
        after_word = first.is_alphanumeric() || first == '_';
        rest = &rest[length..];
    }
    masked
}

/// The length of the comment or literal that `rest` starts with, and whether it is a string.
fn opaque_length(rest: &str, after_word: bool) -> Option<(usize, bool)> {
    if rest.starts_with("//") {
        return Some((rest.find('\n').unwrap_or(rest.len()), false));
    }
    if rest.starts_with("/*") {
        return Some((block_comment_length(rest), false));
    }
    if rest.starts_with('\'') {
        return char_length(rest).map(|length| (length, false));
    }
    let prefixes: &[&str] = if after_word { &[""] } else { &["", "b", "c", "r", "br", "cr"] };
    prefixes.iter().find_map(|prefix| {
        let literal = rest.strip_prefix(prefix)?;
        let length = if prefix.ends_with('r') { raw_string_length(literal) } else { string_length(literal) };
        length.map(|length| (prefix.len() + length, true))
    })
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// A char literal; a lifetime is none.
fn char_length(rest: &str) -> Option<usize> {
    let inner = &rest[1..];
    if inner.starts_with('\\') {
        let closing = inner.get(2..)?.find('\'')?;
        return Some(1 + 2 + closing + 1);
    }
    let character = inner.chars().next()?;
    inner[character.len_utf8()..].starts_with('\'').then_some(1 + character.len_utf8() + 1)
}

fn string_length(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('"')?;
    let mut escaped = false;
    for (at, character) in inner.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 2),
            _ => {}
        }
    }
    Some(rest.len())
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let inner = rest[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let end = inner.find(&closing).map_or(rest.len(), |at| hashes + 1 + at + closing.len());
    Some(end)
}

#[test]
fn comments_and_literals_are_blank_and_lines_stay() {
    let source = "a /* x /* y */ z\n */ b // c\nd(\"e\\\" {\", 'f', '\\'', r#\"g\"h\"#) <'k> br\"l\"";
    let masked = mask(source);
    assert_eq!(masked.code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "d(", ",", ",", ",", ")", "<'k>"]);
    assert_eq!(masked.code.lines().count(), 3);
    let literals: Vec<_> = masked.literals.iter().map(|l| (l.line, l.text.as_str())).collect();
    assert_eq!(literals, [(3, "\"e\\\" {\""), (3, "r#\"g\"h\"#"), (3, "br\"l\"")]);
}
