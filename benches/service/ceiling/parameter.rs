//! Parameters of statements, parsed once from the text form in PostgreSQL's log.

use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use tokio_postgres::types::{ToSql, Type};

/// A value of the type that the statement takes.
pub type Parameter = Box<dyn ToSql + Sync + Send>;

/// Parses a value of the type `kind`. `None` is NULL.
pub fn parse(kind: &Type, text: Option<&str>) -> anyhow::Result<Parameter> {
    Ok(match *kind {
        Type::BOOL => boxed(text.map(|text| text == "t")),
        Type::INT2 => boxed(text.map(number::<i16>).transpose()?),
        Type::INT4 => boxed(text.map(number::<i32>).transpose()?),
        Type::INT8 => boxed(text.map(number::<i64>).transpose()?),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => boxed(text.map(str::to_owned)),
        Type::BYTEA => boxed(text.map(bytes).transpose()?),
        Type::INT2_ARRAY => boxed(text.map(numbers::<i16>).transpose()?),
        Type::INT4_ARRAY => boxed(text.map(numbers::<i32>).transpose()?),
        Type::INT8_ARRAY => boxed(text.map(numbers::<i64>).transpose()?),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => boxed(text.map(elements).transpose()?),
        _ => bail!("no statement was expected to have a parameter of the type {kind}"),
    })
}

fn boxed(value: impl ToSql + Sync + Send + 'static) -> Parameter {
    Box::new(value)
}

fn number<N: FromStr<Err: Display>>(text: &str) -> anyhow::Result<N> {
    text.parse::<N>().map_err(|error| anyhow!("{text:?} is no number: {error}"))
}

fn numbers<N: FromStr<Err: Display>>(text: &str) -> anyhow::Result<Vec<N>> {
    elements(text)?.iter().map(|element| number(element)).collect()
}

/// Parses bytes such as `\x0aff`.
fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits = text.strip_prefix("\\x").with_context(|| format!("{text:?} is not in hex"))?;
    let byte = |pair: &[u8]| anyhow::Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// Parses the elements of an array such as `{a,"b c"}`.
fn elements(text: &str) -> anyhow::Result<Vec<String>> {
    let inside = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let inside = inside.with_context(|| format!("{text:?} is no array"))?;
    if inside.is_empty() {
        return Ok(Vec::new());
    }
    let (mut elements, mut element, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut letters = inside.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' => element.extend(letters.next()),
            ',' if !is_quoted => elements.push(std::mem::take(&mut element)),
            _ => element.push(letter),
        }
    }
    elements.push(element);
    Ok(elements)
}
