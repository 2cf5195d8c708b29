//! From text to tokens. Whitespace is space and tab only.

use std::fmt;

/// Why a text is no selector; the words are those of Calico's parser.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub(super) String);

pub(super) fn error<T>(text: impl Into<String>) -> Result<T, SelectorError> {
    Err(SelectorError(text.into()))
}

const LABEL_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Label(String),
    Text(String),
    LeftBrace,
    RightBrace,
    Comma,
    Equal,
    NotEqual,
    In,
    Not,
    NotIn,
    Contains,
    StartsWith,
    EndsWith,
    All,
    Has(String),
    LeftParenthesis,
    RightParenthesis,
    And,
    Or,
    Global,
    End,
}

/// As Calico's messages show tokens.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value) = match self {
            Token::Label(label) => ("Label", label.as_str()),
            Token::Text(text) => ("StringLiteral", text.as_str()),
            Token::LeftBrace => ("LBrace", ""),
            Token::RightBrace => ("RBrace", ""),
            Token::Comma => ("Comma", ""),
            Token::Equal => ("Eq", ""),
            Token::NotEqual => ("Ne", ""),
            Token::In => ("In", ""),
            Token::Not => ("Not", ""),
            Token::NotIn => ("NotIn", ""),
            Token::Contains => ("Contains", ""),
            Token::StartsWith => ("StartsWith", ""),
            Token::EndsWith => ("EndsWith", ""),
            Token::All => ("All", ""),
            Token::Has(label) => ("Has", label.as_str()),
            Token::LeftParenthesis => ("LParen", ""),
            Token::RightParenthesis => ("RParen", ""),
            Token::And => ("And", ""),
            Token::Or => ("Or", ""),
            Token::Global => ("Global", ""),
            Token::End => ("EOF", ""),
        };
        write!(f, "Tok{name}({value})")
    }
}

/// All tokens of a text, [`Token::End`] last.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SelectorError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = skip_space(rest);
        let after_label = match tokens.last() {
            Some(Token::Label(label)) => Some(label.as_str()),
            _ => None,
        };
        let (token, next) = token(rest, after_label)?;
        let end = token == Token::End;
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
        rest = next;
    }
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

fn is_label(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

fn token<'a>(rest: &'a str, after_label: Option<&str>) -> Result<(Token, &'a str), SelectorError> {
    let Some(first) = rest.chars().next() else {
        return Ok((Token::End, rest));
    };
    let one = |token| Ok((token, &rest[1..]));
    let doubled = |word: &str, token| match rest.strip_prefix(word) {
        Some(next) => Ok((token, next)),
        None => error(format!("expected {word}")),
    };
    match first {
        '"' | '\'' => match rest[1..].split_once(first) {
            Some((text, next)) => Ok((Token::Text(text.to_string()), next)),
            None => error("unterminated string"),
        },
        '{' => one(Token::LeftBrace),
        '}' => one(Token::RightBrace),
        '(' => one(Token::LeftParenthesis),
        ')' => one(Token::RightParenthesis),
        ',' => one(Token::Comma),
        '=' => doubled("==", Token::Equal),
        '&' => doubled("&&", Token::And),
        '|' => doubled("||", Token::Or),
        '!' => match rest.strip_prefix("!=") {
            Some(next) => Ok((Token::NotEqual, next)),
            None => one(Token::Not),
        },
        // Only after a label a word is an operator, so that `in == 'x'` has a label of that name.
        _ => match after_label {
            Some(label) => operator(rest, label),
            None => word(rest),
        },
    }
}

/// A function's name with its parenthesis, or a label.
fn word(rest: &str) -> Result<(Token, &str), SelectorError> {
    if let Some(inside) = rest.strip_prefix("has(") {
        let (name, next) = label(skip_space(inside))?;
        return match skip_space(next).strip_prefix(')') {
            Some(next) => Ok((Token::Has(name), next)),
            None => error("no closing ')' after has("),
        };
    }
    for (word, token) in [("all(", Token::All), ("global(", Token::Global)] {
        if let Some(inside) = rest.strip_prefix(word) {
            return match skip_space(inside).strip_prefix(')') {
                Some(next) => Ok((token, next)),
                None => error(format!("no closing ')' after {word}")),
            };
        }
    }
    let (name, next) = label(rest)?;
    Ok((Token::Label(name), next))
}

fn label(rest: &str) -> Result<(String, &str), SelectorError> {
    let end = rest.find(|c| !is_label(c)).unwrap_or(rest.len());
    let (name, next) = rest.split_at(end);
    match name.len() {
        0 => error("expected identifier"),
        1..=LABEL_MAX => Ok((name.to_string(), next)),
        _ => error(format!("label too long: {name}")),
    }
}

fn operator<'a>(rest: &'a str, label: &str) -> Result<(Token, &'a str), SelectorError> {
    let operators: [(&[&str], Token); 8] = [
        (&["contains"], Token::Contains),
        (&["startswith"], Token::StartsWith),
        (&["starts", "with"], Token::StartsWith),
        (&["endswith"], Token::EndsWith),
        (&["ends", "with"], Token::EndsWith),
        (&["in"], Token::In),
        (&["notin"], Token::NotIn),
        (&["not", "in"], Token::NotIn),
    ];
    for (words, token) in operators {
        if let Some(next) = after_words(rest, words) {
            return Ok((token, next));
        }
    }
    error(format!("expected operator after label \"{label}\""))
}

/// What follows the words, where each ends at a word's boundary.
fn after_words<'a>(rest: &'a str, words: &[&str]) -> Option<&'a str> {
    words.iter().try_fold(rest, |rest, word| {
        let next = skip_space(rest).strip_prefix(word)?;
        (!next.starts_with(is_label)).then_some(next)
    })
}
