//! As much of BIRD 1's configuration as confd writes: sessions, static routes, and filters that can be run.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp::InterfaceMatch;
use ipnet::IpNet;

/// A file's words and signs, in order.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<String>);

impl Tokens {
    pub fn of(text: &str) -> Tokens {
        let mut tokens = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut rest = line.trim_start();
            while !rest.is_empty() {
                let length = token_length(rest);
                tokens.push(rest[..length].to_string());
                rest = rest[length..].trim_start();
            }
        }
        Tokens(tokens)
    }

    /// What stands between the braces that open after `words`, for each place where they stand; with the words between.
    pub fn blocks(&self, words: &[&str]) -> Vec<(Vec<String>, Tokens)> {
        let mut found = Vec::new();
        for at in 0..self.0.len() {
            if !self.0[at..]
                .iter()
                .map(String::as_str)
                .take(words.len())
                .eq(words.iter().copied())
            {
                continue;
            }
            let head = at + words.len();
            let Some(open) = self.0[head..].iter().position(|t| t == "{" || t == ";") else {
                continue;
            };
            if self.0[head + open] == "{" {
                let body = head + open + 1;
                let name = self.0[head..head + open].to_vec();
                found.push((
                    name,
                    Tokens(self.0[body..body + closing(&self.0[body..])].to_vec()),
                ));
            }
        }
        found
    }

    /// Statements without a block of their own: `source address 10.0.0.1` is key `source` and the rest.
    pub fn statements(&self) -> Vec<Vec<String>> {
        let mut statements = Vec::new();
        let mut rest = &self.0[..];
        while !rest.is_empty() {
            let end = rest
                .iter()
                .position(|t| t == ";" || t == "{")
                .unwrap_or(rest.len());
            if rest.get(end).is_some_and(|t| t == "{") {
                rest = &rest[end + 1..];
                rest = &rest[closing(rest) + 1..];
                continue;
            }
            statements.push(rest[..end].to_vec());
            rest = &rest[(end + 1).min(rest.len())..];
        }
        statements.retain(|statement| !statement.is_empty());
        statements
    }
}

fn token_length(text: &str) -> usize {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.find('"').expect("a quote that ends") + 2;
    }
    if ["&&", "||", "!="].iter().any(|sign| text.starts_with(sign)) {
        return 2;
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_./:".contains(c);
    match text.find(|c| !is_word(c)) {
        Some(0) => 1,
        Some(length) => length,
        None => text.len(),
    }
}

fn closing(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" if depth == 0 => return at,
            "}" => depth -= 1,
            _ => {}
        }
    }
    panic!("a brace is not closed in {tokens:?}");
}

/// A route as a filter sees it, and changes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub net: IpNet,
    pub from_bgp: bool,
    pub ifname: Option<String>,
    pub krt_metric: Option<u32>,
    pub bgp_local_pref: Option<u32>,
    pub preference: u32,
}

/// Functions by name, with their parameter and body.
pub type Functions = BTreeMap<String, (Option<String>, Tokens)>;

pub fn functions(files: &Tokens) -> Functions {
    let all = files.blocks(&["function"]);
    let one = |(head, body): (Vec<String>, Tokens)| {
        // NAME ( [TYPE PARAMETER] )
        let parameter = (head.len() > 3).then(|| head[head.len() - 2].clone());
        (head[0].clone(), (parameter, body))
    };
    all.into_iter().map(one).collect()
}

/// What a filter says: true for accept.
pub fn run(body: &Tokens, functions: &Functions, route: &mut Route) -> bool {
    let mut run = Run {
        functions,
        route,
        flags: BTreeMap::new(),
    };
    run.all(&body.0).expect("a filter accepts or rejects")
}

struct Run<'a> {
    functions: &'a Functions,
    route: &'a mut Route,
    flags: BTreeMap<String, bool>,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bool(bool),
    Number(u32),
    Net(IpNet),
    Text(String),
    Undefined,
}

impl Run<'_> {
    fn all(&mut self, mut rest: &[String]) -> Option<bool> {
        while !rest.is_empty() {
            let (verdict, after) = self.statement(rest, true);
            if verdict.is_some() {
                return verdict;
            }
            rest = after;
        }
        None
    }

    /// Runs, or passes over, one statement; gives the verdict if it was one, and what follows.
    fn statement<'t>(&mut self, tokens: &'t [String], live: bool) -> (Option<bool>, &'t [String]) {
        match tokens[0].as_str() {
            "{" => {
                let end = closing(&tokens[1..]) + 1;
                let verdict = if live {
                    self.all(&tokens[1..end])
                } else {
                    None
                };
                (verdict, &tokens[end + 1..])
            }
            ";" => (None, &tokens[1..]),
            "if" => {
                let then = tokens.iter().position(|t| t == "then").expect("then");
                let holds = live && self.condition(&tokens[1..then]);
                let (verdict, rest) = self.statement(&tokens[then + 1..], holds);
                if rest.first().is_none_or(|t| t != "else") {
                    return (verdict, rest);
                }
                let (otherwise, rest) = self.statement(&rest[1..], live && !holds);
                (verdict.or(otherwise), rest)
            }
            word => {
                let end = tokens
                    .iter()
                    .position(|t| t == ";")
                    .expect("a statement ends");
                let verdict = if live {
                    self.simple(word, &tokens[1..end])
                } else {
                    None
                };
                (verdict, &tokens[end + 1..])
            }
        }
    }

    fn simple(&mut self, word: &str, rest: &[String]) -> Option<bool> {
        match (word, rest.first().map(String::as_str)) {
            ("accept", None) => Some(true),
            ("reject", None) => Some(false),
            (name, Some("(")) => {
                let (parameter, body) = self.functions[name].clone();
                if let Some(parameter) = parameter {
                    let value = self.value(&rest[1..rest.len() - 1]);
                    self.flags.insert(parameter, value == Value::Bool(true));
                }
                self.all(&body.0)
            }
            (name, Some("=")) => {
                let Value::Number(value) = self.value(&rest[1..]) else {
                    panic!("{name} is given no number: {rest:?}");
                };
                match name {
                    "krt_metric" => self.route.krt_metric = Some(value),
                    "bgp_local_pref" => self.route.bgp_local_pref = Some(value),
                    "preference" => self.route.preference = value,
                    _ => panic!("{name} is not known"),
                }
                None
            }
            _ => panic!("statement {word} {rest:?} is not known"),
        }
    }

    fn condition(&mut self, tokens: &[String]) -> bool {
        self.value(tokens) == Value::Bool(true)
    }

    /// By the weakest sign outside parentheses.
    fn value(&mut self, tokens: &[String]) -> Value {
        for signs in [&["||"][..], &["&&"], &["=", "~", "<", ">"], &["-"]] {
            if let Some(at) = outside(tokens, signs) {
                return self.binary(&tokens[..at], &tokens[at], &tokens[at + 1..]);
            }
        }
        match (tokens[0].as_str(), tokens.len()) {
            ("(", _) => self.value(&tokens[1..tokens.len() - 1]),
            ("!", _) => Value::Bool(!self.condition(&tokens[1..])),
            ("defined", _) => {
                Value::Bool(self.value(&tokens[2..tokens.len() - 1]) != Value::Undefined)
            }
            (word, 1) => self.word(word),
            _ => panic!("{tokens:?} is not known"),
        }
    }

    fn binary(&mut self, left: &[String], sign: &str, right: &[String]) -> Value {
        if sign == "||" || sign == "&&" {
            let left = self.condition(left);
            let decided = left == (sign == "||");
            return Value::Bool(if decided { left } else { self.condition(right) });
        }
        let (left, right) = (self.value(left), self.value(right));
        match (left, sign, right) {
            (Value::Number(a), "-", Value::Number(b)) => Value::Number(a.wrapping_sub(b)),
            (Value::Number(a), "<", Value::Number(b)) => Value::Bool(a < b),
            (Value::Number(a), ">", Value::Number(b)) => Value::Bool(a > b),
            // BIRD: a comparison with what is not there does not hold.
            (Value::Undefined, "<" | ">", _) => Value::Bool(false),
            (Value::Net(a), "~", Value::Net(b)) => Value::Bool(b.contains(&a)),
            (Value::Text(a), "~", Value::Text(b)) => {
                Value::Bool(InterfaceMatch::new(b.as_str()).matches(&a))
            }
            (a, "=", b) => Value::Bool(a == b),
            (a, sign, b) => panic!("{a:?} {sign} {b:?} is not known"),
        }
    }

    fn word(&self, word: &str) -> Value {
        let number = |value: Option<u32>| value.map_or(Value::Undefined, Value::Number);
        match word {
            "net" => Value::Net(self.route.net),
            "source" => Value::Text(if self.route.from_bgp { "bgp" } else { "other" }.into()),
            "RTS_BGP" => Value::Text("bgp".into()),
            "ifname" => self
                .route
                .ifname
                .clone()
                .map_or(Value::Undefined, Value::Text),
            "krt_metric" => number(self.route.krt_metric),
            "bgp_local_pref" => number(self.route.bgp_local_pref),
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            word => {
                if let Some(flag) = self.flags.get(word) {
                    return Value::Bool(*flag);
                }
                if let Some(text) = word.strip_prefix('"') {
                    return Value::Text(text.trim_end_matches('"').into());
                }
                if let Ok(number) = word.parse() {
                    return Value::Number(number);
                }
                let net = word.parse::<IpNet>().ok();
                let net = net.or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from));
                Value::Net(net.unwrap_or_else(|| panic!("{word} is not known")))
            }
        }
    }
}

fn outside(tokens: &[String], signs: &[&str]) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            sign if depth == 0 && at > 0 && signs.contains(&sign) => return Some(at),
            _ => {}
        }
    }
    None
}
