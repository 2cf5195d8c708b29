//! Text to nodes.

use serde_json::Value;

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// As it is.
    Text(String),
    /// The value of a pipeline.
    Print(Expr),
    /// `{{$x := pipeline}}`
    Set(String, Expr),
    /// `{{if}}`
    If(Expr, Vec<Node>, Vec<Node>),
    /// `{{with}}`
    With(Expr, Vec<Node>, Vec<Node>),
    /// `{{range $i, $x := pipeline}}`
    Range {
        /// `$i`
        index: Option<String>,
        /// `$x`
        item: Option<String>,
        /// What is gone through.
        over: Expr,
        /// For each.
        body: Vec<Node>,
        /// For none.
        otherwise: Vec<Node>,
    },
}

/// What has a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `.`
    Dot,
    /// `$x`; `$` is the value that the template began with.
    Variable(String),
    /// A number, a text, a truth value or nil.
    Literal(Value),
    /// `.Spec.CIDR` of a value.
    Fields(Box<Expr>, Vec<String>),
    /// A function with its arguments.
    Call(String, Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// `.A.B`, or `.` without names; whether a space stands before it.
    Fields(Vec<String>, bool),
    Variable(String),
    Word(String),
    Literal(Value),
    Sign(char),
    Define,
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Parses a whole template.
pub fn parse(text: &str) -> Result<Vec<Node>, String> {
    let pieces = pieces(text)?;
    let mut pieces = pieces.into_iter();
    let (nodes, end) = block(&mut pieces)?;
    match end {
        End::OfText => Ok(nodes),
        End::OfBlock => Err("unexpected {{end}}".to_string()),
        End::Else(_) => Err("unexpected {{else}}".to_string()),
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_left = false;
    while let Some(at) = rest.find("{{") {
        let after = &rest[at + 2..];
        let trim_right = after.starts_with("- ");
        pieces.push(Piece::Text(trimmed(&rest[..at], trim_left, trim_right)));
        let after = after.strip_prefix("- ").unwrap_or(after);
        if let Some(comment) = after.trim_start().strip_prefix("/*") {
            let end = comment.find("*/").ok_or("unclosed comment")?;
            let close = comment[end + 2..].trim_start();
            trim_left = close.starts_with("-}}");
            rest = close
                .strip_prefix("-}}")
                .or_else(|| close.strip_prefix("}}"))
                .ok_or("comment ends before closing delimiter")?;
            continue;
        }
        let (tokens, after) = tokens(after)?;
        trim_left = after.starts_with("-}}");
        rest = after
            .trim_start_matches('-')
            .strip_prefix("}}")
            .ok_or("unclosed action")?;
        pieces.push(Piece::Action(tokens));
    }
    pieces.push(Piece::Text(trimmed(rest, trim_left, false)));
    Ok(pieces)
}

fn trimmed(text: &str, left: bool, right: bool) -> String {
    let text = if left { text.trim_start() } else { text };
    let text = if right { text.trim_end() } else { text };
    text.to_string()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The tokens up to the closing delimiter, and what is left from there on.
fn tokens(text: &str) -> Result<(Vec<Token>, &str), String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start();
        let spaced = trimmed.len() < rest.len();
        rest = trimmed;
        if rest.starts_with("}}") || (spaced && rest.starts_with("-}}")) {
            return Ok((tokens, rest));
        }
        let first = rest.chars().next().ok_or("unclosed action")?;
        let taken = match first {
            '.' => {
                let end = rest.find(|c| !is_name(c) && c != '.').unwrap_or(rest.len());
                let names = rest[1..end].split('.').filter(|n| !n.is_empty());
                tokens.push(Token::Fields(names.map(String::from).collect(), spaced));
                end
            }
            '$' => {
                let end = rest[1..]
                    .find(|c| !is_name(c))
                    .map_or(rest.len(), |at| at + 1);
                tokens.push(Token::Variable(rest[..end].to_string()));
                end
            }
            '"' | '`' => {
                let (value, end) = quoted(rest)?;
                tokens.push(Token::Literal(Value::String(value)));
                end
            }
            ':' if rest.starts_with(":=") => {
                tokens.push(Token::Define);
                2
            }
            '(' | ')' | '|' | ',' => {
                tokens.push(Token::Sign(first));
                1
            }
            c if is_name(c) || c == '-' => {
                let end = rest[1..]
                    .find(|c| !is_name(c) && c != '.')
                    .map_or(rest.len(), |at| at + 1);
                tokens.push(word(&rest[..end])?);
                end
            }
            other => return Err(format!("unexpected {other:?} in action")),
        };
        rest = &rest[taken..];
    }
}

fn word(word: &str) -> Result<Token, String> {
    if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        let number: Value =
            serde_json::from_str(word).map_err(|_| format!("bad number syntax: {word:?}"))?;
        return Ok(Token::Literal(number));
    }
    Ok(match word {
        "true" => Token::Literal(Value::Bool(true)),
        "false" => Token::Literal(Value::Bool(false)),
        "nil" => Token::Literal(Value::Null),
        other => Token::Word(other.to_string()),
    })
}

/// A quoted text at the start, and where it ends.
fn quoted(text: &str) -> Result<(String, usize), String> {
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`').ok_or("unterminated raw quoted string")?;
        return Ok((raw[..end].to_string(), end + 2));
    }
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, at + 1)),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, other @ ('"' | '\\' | '\''))) => value.push(other),
                _ => return Err("invalid syntax in quoted string".to_string()),
            },
            other => value.push(other),
        }
    }
    Err("unterminated quoted string".to_string())
}

/// What ended a block.
enum End {
    OfText,
    OfBlock,
    /// With the rest of the action: `if ...` after `else`.
    Else(Vec<Token>),
}

fn block(pieces: &mut std::vec::IntoIter<Piece>) -> Result<(Vec<Node>, End), String> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        match tokens.first() {
            None => return Err("missing value for command".to_string()),
            Some(Token::Word(word)) => match word.as_str() {
                "end" => return Ok((nodes, End::OfBlock)),
                "else" => return Ok((nodes, End::Else(tokens[1..].to_vec()))),
                "if" | "with" | "range" => nodes.push(control(word, &tokens[1..], pieces)?),
                "template" | "define" | "block" | "break" | "continue" => {
                    return Err(format!("{word:?} is not supported here"));
                }
                _ => nodes.push(Node::Print(whole(&tokens)?)),
            },
            Some(Token::Variable(name)) if tokens.get(1) == Some(&Token::Define) => {
                nodes.push(Node::Set(name.clone(), whole(&tokens[2..])?));
            }
            Some(_) => nodes.push(Node::Print(whole(&tokens)?)),
        }
    }
    Ok((nodes, End::OfText))
}

fn control(
    word: &str,
    head: &[Token],
    pieces: &mut std::vec::IntoIter<Piece>,
) -> Result<Node, String> {
    let (body, end) = block(pieces)?;
    let otherwise = match end {
        End::OfText => return Err("unexpected EOF".to_string()),
        End::OfBlock => Vec::new(),
        End::Else(rest) => match rest.split_first() {
            None => {
                let (otherwise, end) = block(pieces)?;
                if !matches!(end, End::OfBlock) {
                    return Err("unexpected EOF".to_string());
                }
                otherwise
            }
            Some((Token::Word(again), rest)) if again == "if" && word != "range" => {
                vec![control("if", rest, pieces)?]
            }
            Some(_) => return Err("unexpected words after {{else".to_string()),
        },
    };
    Ok(match word {
        "if" => Node::If(whole(head)?, body, otherwise),
        "with" => Node::With(whole(head)?, body, otherwise),
        _ => {
            let (index, item, over) = match head {
                [
                    Token::Variable(i),
                    Token::Sign(','),
                    Token::Variable(x),
                    Token::Define,
                    over @ ..,
                ] => (Some(i.clone()), Some(x.clone()), over),
                [Token::Variable(x), Token::Define, over @ ..] => (None, Some(x.clone()), over),
                over => (None, None, over),
            };
            Node::Range {
                index,
                item,
                over: whole(over)?,
                body,
                otherwise,
            }
        }
    })
}

/// A pipeline that takes all the tokens.
fn whole(tokens: &[Token]) -> Result<Expr, String> {
    let (expr, rest) = pipeline(tokens)?;
    match rest.first() {
        None => Ok(expr),
        Some(token) => Err(format!("unexpected {token:?} in action")),
    }
}

fn pipeline(tokens: &[Token]) -> Result<(Expr, &[Token]), String> {
    let (mut expr, mut rest) = command(tokens)?;
    while let [Token::Sign('|'), after @ ..] = rest {
        let (next, after) = command(after)?;
        // What comes before a bar is the last argument of what comes after it.
        let Expr::Call(name, mut arguments) = next else {
            return Err("non executable command in pipeline".to_string());
        };
        arguments.push(expr);
        expr = Expr::Call(name, arguments);
        rest = after;
    }
    Ok((expr, rest))
}

const FUNCTIONS: &[&str] = &[
    "and",
    "or",
    "not",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "len",
    "index",
    "print",
    "println",
    "printf",
    "join",
    "joinAndTruncate",
    "config",
];

fn command(tokens: &[Token]) -> Result<(Expr, &[Token]), String> {
    let [Token::Word(name), rest @ ..] = tokens else {
        return operand(tokens);
    };
    if !FUNCTIONS.contains(&name.as_str()) {
        return Err(format!("function {name:?} not defined"));
    }
    let mut arguments = Vec::new();
    let mut rest = rest;
    while !matches!(rest.first(), None | Some(Token::Sign(')' | '|'))) {
        let (argument, after) = operand(rest)?;
        arguments.push(argument);
        rest = after;
    }
    Ok((Expr::Call(name.clone(), arguments), rest))
}

fn operand(tokens: &[Token]) -> Result<(Expr, &[Token]), String> {
    let (first, rest) = tokens.split_first().ok_or("missing value for command")?;
    let (expr, rest) = match first {
        Token::Fields(names, _) if names.is_empty() => (Expr::Dot, rest),
        Token::Fields(names, _) => (Expr::Fields(Box::new(Expr::Dot), names.clone()), rest),
        Token::Variable(name) => (Expr::Variable(name.clone()), rest),
        Token::Literal(value) => (Expr::Literal(value.clone()), rest),
        Token::Word(name) => {
            if !FUNCTIONS.contains(&name.as_str()) {
                return Err(format!("function {name:?} not defined"));
            }
            (Expr::Call(name.clone(), Vec::new()), rest)
        }
        Token::Sign('(') => {
            let (expr, rest) = pipeline(rest)?;
            let [Token::Sign(')'), rest @ ..] = rest else {
                return Err("unclosed left paren".to_string());
            };
            (expr, rest)
        }
        Token::Sign(sign) => return Err(format!("unexpected {sign:?} in operand")),
        Token::Define => return Err("unexpected \":=\" in operand".to_string()),
    };
    // `$x.Name` and `(index . 0).Name`: fields that follow without a space.
    match rest {
        [Token::Fields(names, false), rest @ ..] if !names.is_empty() => {
            Ok((Expr::Fields(Box::new(expr), names.clone()), rest))
        }
        rest => Ok((expr, rest)),
    }
}
