//! The project's own text files, and what a rule says about them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::mask::{Masked, mask};

const EXTENSIONS: &[&str] = &["rs", "proto", "sql", "toml", "md", "sh", "yaml", "yml", "py", "ts", "tsx", "go", "java"];
const FILES_WITHOUT_EXTENSION: &[&str] = &["Makefile", ".ci/run"];

pub struct SourceFile {
    /// From the root of the repository, with forward slashes.
    pub path: String,
    pub text: String,
    /// Rust only: comments and literals blanked out. Empty for other files.
    pub masked: Masked,
}

impl SourceFile {
    pub fn new(path: &str, text: &str) -> SourceFile {
        let masked = if path.ends_with(".rs") { mask(text) } else { Masked::default() };
        SourceFile { path: path.to_owned(), text: text.to_owned(), masked }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// The lines of the file as written, counted from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The same lines without comments and literals.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.masked.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    pub fn line_of(&self, byte: usize) -> usize {
        self.masked.code[..byte].matches('\n').count() + 1
    }

    pub fn finding(&self, line: usize, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { place: format!("{}:{line}", self.path), what: what.into(), fix: fix.into() }
    }
}

#[derive(Debug)]
pub struct Finding {
    pub place: String,
    pub what: String,
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    fix: {}", self.place, self.what, self.fix)
    }
}

pub fn repository_files() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
        let wanted = FILES_WITHOUT_EXTENSION.contains(&name.as_str())
            || path.extension().is_some_and(|e| EXTENSIONS.iter().any(|wanted| e == *wanted));
        // A file may vanish between the walk and the read: somebody is editing.
        wanted.then(|| fs::read_to_string(&path).ok()).flatten().map(|text| SourceFile::new(&name, &text))
    };
    paths.into_iter().filter_map(read).collect()
}

fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_file() {
            paths.push(path);
        } else if kind.is_dir() {
            let hidden = name.to_string_lossy().starts_with('.') && name != ".ci";
            let generated = name == "target" || name == "node_modules" || path.join("CACHEDIR.TAG").exists();
            if !hidden && !generated {
                walk(&path, paths);
            }
        }
    }
}
