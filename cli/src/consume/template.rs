//! Templates such as `%p %o %k %v`.

use std::str::FromStr;

use eventflow::Record;

use super::show::time;

/// Text with fields of a record between.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Stream,
    Partition,
    Offset,
    Id,
    Type,
    Key,
    Headers,
    Payload,
    AppendTime,
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let piece = match (letter, letter == '%' || letter == '\\') {
                (_, false) => {
                    plain.push(letter);
                    continue;
                }
                ('%', _) => field(letters.next())?,
                _ => escape(letters.next())?,
            };
            if let Piece::Text(text) = piece {
                plain.push_str(&text);
                continue;
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }
}

fn field(letter: Option<char>) -> Result<Piece, String> {
    Ok(match letter {
        Some('%') => Piece::Text("%".to_owned()),
        Some('s') => Piece::Stream,
        Some('p') => Piece::Partition,
        Some('o') => Piece::Offset,
        Some('i') => Piece::Id,
        Some('t') => Piece::Type,
        Some('k') => Piece::Key,
        Some('h') => Piece::Headers,
        Some('v') => Piece::Payload,
        Some('T') => Piece::AppendTime,
        Some(other) => {
            return Err(format!("`%{other}` is not a field: %s %p %o %i %t %k %h %v %T, %% is a percent sign"));
        }
        None => return Err("a `%` stands at the end; write %% for a percent sign".to_owned()),
    })
}

fn escape(letter: Option<char>) -> Result<Piece, String> {
    let text = match letter {
        Some('n') => "\n",
        Some('t') => "\t",
        Some('\\') => "\\",
        _ => return Err("a backslash is followed by n, t or a backslash".to_owned()),
    };
    Ok(Piece::Text(text.to_owned()))
}

impl Template {
    pub(super) fn fill(&self, record: &Record) -> Vec<u8> {
        let event = record.event();
        let mut line = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Stream => line.extend_from_slice(record.stream().as_bytes()),
                Piece::Partition => line.extend_from_slice(record.partition().to_string().as_bytes()),
                Piece::Offset => line.extend_from_slice(record.offset().to_string().as_bytes()),
                Piece::Id => line.extend_from_slice(record.id().as_bytes()),
                Piece::Type => line.extend_from_slice(event.event_type().as_bytes()),
                Piece::Key => line.extend_from_slice(event.key().unwrap_or_default().as_bytes()),
                Piece::Payload => line.extend_from_slice(record.payload()),
                Piece::AppendTime => line.extend_from_slice(time(record.append_time()).as_bytes()),
                Piece::Headers => {
                    let pairs: Vec<String> =
                        event.headers().iter().map(|header| format!("{}={}", header.name, header.value)).collect();
                    line.extend_from_slice(pairs.join(",").as_bytes());
                }
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_text_are_told_apart() {
        let template: Template = r"%s/%p\t100%% %v".parse().unwrap();
        let expected =
            [Piece::Stream, Piece::Text("/".into()), Piece::Partition, Piece::Text("\t100% ".into()), Piece::Payload];
        assert_eq!(template.0, expected);
        for bad in ["%x", "%", r"\q"] {
            assert!(bad.parse::<Template>().is_err(), "`{bad}`");
        }
    }
}
