//! Parses the fenced blocks of a page.

use std::fs;
use std::path::PathBuf;

/// The language of a block, which decides how the test uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `sh` and `bash`: run by bash.
    Shell,
    Python,
    JavaScript,
    /// Run by tests/it/roles.rs.
    Sql,
    /// Proxy configurations, run by tests/it/proxies.rs. `Ini` is that of nghttpx.
    Nginx,
    Haproxy,
    /// The configuration of nghttpx.
    Ini,
    /// A configuration file. The following blocks can use it under the name in its first line.
    Toml,
    /// The output of the previous block, as JSON values.
    Json,
    /// The output of the previous block, as lines of text.
    Text,
}

#[derive(Debug)]
pub struct Block {
    /// The line of the opening fence, starting with 1.
    pub line: usize,
    pub language: Language,
    pub code: String,
}

#[derive(Debug)]
pub struct Page {
    /// The path from the root of the repository.
    pub path: String,
    pub text: String,
    pub blocks: Vec<Block>,
}

pub fn file(path: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file is there")
}

impl Page {
    pub fn read(path: &str) -> Self {
        let text = file(path);
        let blocks = blocks(&text).unwrap_or_else(|why| panic!("{path}:{why}"));
        Self { path: path.to_owned(), text, blocks }
    }
}

/// Errors: a block is not closed, or has a language that no test can use.
fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (place, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        let is_fence = bare.starts_with("```") || bare.starts_with("~~~");
        match &mut open {
            Some(_) if is_fence && bare.trim_end() == "```" => blocks.extend(open.take().map(|(block, _)| block)),
            Some((block, indent)) => {
                // A block within a list is indented with it.
                block.code.push_str(line.get(*indent..).unwrap_or_default());
                block.code.push('\n');
            }
            None if is_fence => {
                let language = language(bare).map_err(|why| format!("{}: {why}", place + 1))?;
                open = Some((Block { line: place + 1, language, code: String::new() }, indent));
            }
            None => {}
        }
    }
    match open {
        Some((block, _)) => Err(format!("{}: the block is not closed", block.line)),
        None => Ok(blocks),
    }
}

fn language(fence: &str) -> Result<Language, String> {
    Ok(match fence.strip_prefix("```").unwrap_or_default().trim() {
        "sh" | "bash" => Language::Shell,
        "python" => Language::Python,
        "javascript" => Language::JavaScript,
        "sql" => Language::Sql,
        "nginx" => Language::Nginx,
        "haproxy" => Language::Haproxy,
        "ini" => Language::Ini,
        "toml" => Language::Toml,
        "json" => Language::Json,
        "text" | "csv" => Language::Text,
        "" => return Err("the block names no language after three backticks".to_owned()),
        other => return Err(format!("no test knows what to do with a block of {other:?}")),
    })
}

#[test]
fn a_code_block_that_no_test_would_run_is_an_error() {
    let languages =
        |text: &str| blocks(text).map(|blocks| blocks.into_iter().map(|one| one.language).collect::<Vec<_>>());
    assert_eq!(languages("a\n```sh\nx\n```\n```json\n1\n```\n"), Ok(vec![Language::Shell, Language::Json]));
    assert_eq!(blocks("- a\n  ```text\n  b\n    c\n  ```\n").expect("a block")[0].code, "b\n  c\n");
    for text in ["```\nx\n```\n", "```rust\nx\n```\n", "~~~sh\nx\n~~~\n", "````sh\nx\n````\n", "```sh\nx\n"] {
        assert!(blocks(text).is_err(), "{text}");
    }
}
