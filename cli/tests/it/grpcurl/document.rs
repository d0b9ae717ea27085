//! The commands of a page of Markdown, and what it shows as their answers.

/// Variables of the page that stand for what earlier answers said, and for what `dev.env` holds.
pub const VARIABLES: &[&str] = &[
    "$CURSOR",
    "$SESSION_ID",
    "$KEY_ID",
    "$ACCESS_TOKEN",
    "$REFRESH_TOKEN",
    "$USER_ID",
    "$INVITATION",
    "$EVENTFLOW_ADMIN_PASSWORD",
];

/// A grpcurl command.
pub struct Command {
    /// As it stands on the page.
    pub line: String,
    pub verb: Verb,
    /// The block behind it, up to the next command: JSON, or names.
    pub shown: String,
}

pub enum Verb {
    List,
    Describe(String),
    Call { method: String, headers: Vec<(String, String)>, data: String },
}

impl Command {
    /// `package.Service/Method`, when it calls one.
    pub fn method(&self) -> Option<&str> {
        match &self.verb {
            Verb::Call { method, .. } => Some(method),
            _ => None,
        }
    }
}

/// All grpcurl commands in their order; `$EVENTFLOW_API_KEY` is replaced as a shell would. What an
/// earlier answer said stays.
pub fn commands(page: &str, api_key: &str) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for (kind, block) in blocks(page) {
        if kind != "console" {
            if let Some(command) = commands.last_mut() {
                assert!(command.shown.is_empty(), "two answers are shown after `{}`", command.line);
                command.shown = block;
            }
            continue;
        }
        for line in block.replace("\\\n", " ").lines() {
            let line = line.trim_start_matches("$ ");
            if line.starts_with("grpcurl ") {
                let verb = verb(line, &words(line, api_key));
                commands.push(Command { line: line.to_owned(), verb, shown: String::new() });
            }
        }
    }
    commands
}

/// Fenced blocks: what stands behind the fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some((kind.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block of the page is not closed");
    blocks
}

/// Words as a shell makes them: quotes, and the one variable that the page uses.
fn words(line: &str, api_key: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in line.chars() {
        match (character, quote) {
            ('\'' | '"', None) => quote = Some(character),
            (_, Some(open)) if open == character => quote = None,
            (' ', None) => words.push(std::mem::take(&mut word)),
            (_, _) => word.push(character),
        }
        if quote != Some('\'') && word.ends_with("$EVENTFLOW_API_KEY") {
            word = word.replace("$EVENTFLOW_API_KEY", api_key);
        }
    }
    let known = |word: &String| VARIABLES.iter().fold(word.clone(), |word, name| word.replace(name, ""));
    let unknown = words.iter().chain([&word]).any(|word| known(word).contains('$'));
    assert!(quote.is_none() && !unknown, "not understood: `{line}`");
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

fn verb(line: &str, words: &[String]) -> Verb {
    let (mut headers, mut data, mut plain) = (Vec::new(), None, Vec::new());
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("`{word}` of `{line}` has no value")).clone();
        match word.as_str() {
            "-plaintext" => {}
            "-H" => {
                let header = value();
                let (name, value) = header.split_once(": ").unwrap_or_else(|| panic!("no header in `{line}`"));
                headers.push((name.to_owned(), value.to_owned()));
            }
            "-d" => data = Some(value()),
            flag if flag.starts_with('-') => panic!("`{flag}` of `{line}` is not understood"),
            _ => plain.push(word.as_str()),
        }
    }
    assert!(line.contains("-plaintext"), "`{line}` lacks -plaintext");
    match plain[..] {
        ["localhost:50051", "list"] => Verb::List,
        ["localhost:50051", "describe", name] => Verb::Describe(name.to_owned()),
        ["localhost:50051", method] => {
            let data = data.unwrap_or_else(|| panic!("`{line}` has no -d"));
            Verb::Call { method: method.to_owned(), headers, data }
        }
        _ => panic!("`{line}` is not understood"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_a_shell_and_grpcurl_would() {
        let page = "```console\n$ grpcurl -plaintext -H \"authorization: Bearer $EVENTFLOW_API_KEY\" \\\n  \
                    -d '{\"a\": \"b c\"}' localhost:50051 x.S/M\n```\ntext\n```json\n{}\n```\n";
        let commands = commands(page, "ef");
        let Verb::Call { method, headers, data } = &commands[0].verb else { panic!("a call") };
        assert_eq!((method.as_str(), data.as_str()), ("x.S/M", "{\"a\": \"b c\"}"));
        assert_eq!(headers[0], ("authorization".to_owned(), "Bearer ef".to_owned()));
        assert_eq!(commands[0].shown, "{}\n");
    }
}
