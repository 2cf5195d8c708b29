//! From tokens to an expression, by recursive descent.

use std::collections::BTreeSet;

use super::token::{SelectorError, Token, error, tokens};
use super::{Comparison, Expression};

/// Parentheses within parentheses; deeper than anyone writes, and shallow enough for any thread's stack.
const DEPTH_MAX: usize = 200;

pub(super) fn parse(text: &str) -> Result<Expression, SelectorError> {
    let tokens = tokens(text)?;
    if tokens == [Token::End] {
        return Ok(Expression::All);
    }
    let mut parser = Parser {
        tokens: &tokens,
        depth: 0,
    };
    let expression = parser.or()?;
    if parser.tokens != [Token::End] {
        let rest: Vec<String> = parser.tokens.iter().map(ToString::to_string).collect();
        return error(format!(
            "unexpected content at end of selector [{}]",
            rest.join(" ")
        ));
    }
    Ok(expression)
}

struct Parser<'a> {
    /// What is left; ends with [`Token::End`], which is never taken.
    tokens: &'a [Token],
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.first().unwrap_or(&Token::End)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.advance();
        }
        found
    }

    fn advance(&mut self) {
        if self.tokens.len() > 1 {
            self.tokens = &self.tokens[1..];
        }
    }

    fn or(&mut self) -> Result<Expression, SelectorError> {
        let mut operands = vec![self.and()?];
        while self.take(&Token::Or) {
            operands.push(self.and()?);
        }
        Ok(several(operands, Expression::Or))
    }

    fn and(&mut self) -> Result<Expression, SelectorError> {
        let mut operands = vec![self.negation()?];
        while self.take(&Token::And) {
            operands.push(self.negation()?);
        }
        Ok(several(operands, Expression::And))
    }

    fn negation(&mut self) -> Result<Expression, SelectorError> {
        let mut negated = false;
        while self.take(&Token::Not) {
            negated = !negated;
        }
        Ok(match (negated, self.primary()?) {
            (false, expression) => expression,
            (true, Expression::Not(inner)) => *inner,
            (true, expression) => Expression::Not(Box::new(expression)),
        })
    }

    fn primary(&mut self) -> Result<Expression, SelectorError> {
        let token = self.peek().clone();
        match token {
            Token::Has(label) => {
                self.advance();
                Ok(Expression::Has(label))
            }
            Token::All => {
                self.advance();
                Ok(Expression::All)
            }
            Token::Global => {
                self.advance();
                Ok(Expression::Global)
            }
            Token::Label(label) => {
                self.advance();
                self.comparison(label)
            }
            Token::LeftParenthesis => {
                self.advance();
                if self.depth == DEPTH_MAX {
                    return error(format!("more than {DEPTH_MAX} parentheses in one another"));
                }
                self.depth += 1;
                let inner = self.or()?;
                self.depth -= 1;
                if self.take(&Token::RightParenthesis) {
                    Ok(inner)
                } else {
                    error("expected )")
                }
            }
            token => error(format!("unexpected token: {token}")),
        }
    }

    fn comparison(&mut self, label: String) -> Result<Expression, SelectorError> {
        let operator = self.peek().clone();
        self.advance();
        let comparison = match operator {
            Token::Equal => Comparison::Equal,
            Token::NotEqual => Comparison::NotEqual,
            Token::Contains => Comparison::Contains,
            Token::StartsWith => Comparison::StartsWith,
            Token::EndsWith => Comparison::EndsWith,
            Token::In => return Ok(Expression::In(label, self.set()?)),
            Token::NotIn => return Ok(Expression::NotIn(label, self.set()?)),
            Token::End => return error("unexpected end of string looking for op"),
            token => return error(format!("expected operator not {token}")),
        };
        Ok(Expression::Compare(label, comparison, self.text()?))
    }

    fn text(&mut self) -> Result<String, SelectorError> {
        let Token::Text(text) = self.peek().clone() else {
            return error("expected string");
        };
        self.advance();
        Ok(text)
    }

    fn set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if !self.take(&Token::LeftBrace) {
            return error("expected set literal");
        }
        let mut set = BTreeSet::new();
        while matches!(self.peek(), Token::Text(_)) {
            set.insert(self.text()?);
            if !self.take(&Token::Comma) {
                break;
            }
        }
        if self.take(&Token::RightBrace) {
            Ok(set)
        } else {
            error("expected }")
        }
    }
}

/// One operand stands for itself.
fn several(mut operands: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match operands.pop() {
        Some(only) if operands.is_empty() => only,
        last => {
            operands.extend(last);
            join(operands)
        }
    }
}
