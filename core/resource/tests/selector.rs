//! Selectors against what Calico's parser made of them (`golden/selectors.txt`: the text in Go's quotes, then the normal form, the unique
//! ID and three matches, or the error).

use std::collections::BTreeMap;

use proptest::prelude::*;
use resource::Selector;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_string(), (*v).to_string()))
        .collect()
}

fn described(text: &str) -> String {
    match Selector::parse(text) {
        Err(error) => format!("ERR {error}"),
        Ok(selector) => format!(
            "-> {selector}   id={}  match{{}}={} match{{a:b}}={} match{{a:x}}={}",
            selector.unique_id(),
            selector.matches(&labels(&[])),
            selector.matches(&labels(&[("a", "b")])),
            selector.matches(&labels(&[("a", "x")])),
        ),
    }
}

#[test]
fn selectors_are_calicos() {
    let golden = include_str!("golden/selectors.txt");
    assert_eq!(golden.lines().count(), 43);
    for line in golden.lines() {
        let mut quoted = serde_json::Deserializer::from_str(line).into_iter::<String>();
        let text = quoted.next().unwrap().unwrap();
        let end = quoted.byte_offset();
        assert_eq!(described(&text), line[end..].trim_start(), "{text}");
    }
}

#[test]
fn more_errors() {
    let check = |text: &str, expected: &str| {
        assert_eq!(Selector::parse(text).unwrap_err().to_string(), expected);
    };
    check("a in {'x'", "expected }");
    check("a in {'x' 'y'}", "expected }");
    check("(has(a)", "expected )");
    check("has()", "expected identifier");
    check("has(a) | has(b)", "expected ||");
    check("a inx {'y'}", "expected operator after label \"a\"");
    check("a ==", "expected string");
    check("a 'x'", "expected operator not TokStringLiteral(x)");
    check("a has(b)", "expected operator after label \"a\"");
    check(
        "has(a) 'x'",
        "unexpected content at end of selector [TokStringLiteral(x) TokEOF()]",
    );
    check(")", "unexpected token: TokRParen()");
    check("é", "expected identifier");
    let long = "l".repeat(513);
    check(&format!("has({long})"), &format!("label too long: {long}"));
    assert!(Selector::parse(&format!("has({})", "l".repeat(512))).is_ok());
    check(
        &"(".repeat(100_000),
        "more than 200 parentheses in one another",
    );
    assert!(Selector::parse(&format!("{}has(a)", "!".repeat(100_000))).is_ok());
}

#[test]
fn absent_labels_match_only_what_is_negative() {
    let check = |text: &str, expected: bool| {
        let selector = Selector::parse(text).unwrap();
        assert_eq!(
            selector.matches(&labels(&[("other", "x")])),
            expected,
            "{text}"
        );
    };
    check("a == ''", false);
    check("a != 'x'", true);
    check("a in {''}", false);
    check("a not in {'x'}", true);
    check("a contains ''", false);
    check("a starts with ''", false);
    check("a ends with ''", false);
    check("!has(a)", true);
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z./_-]{1,6}",
        Just("in".to_string()),
        Just("not".to_string()),
        Just("has".to_string())
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["'[^']{0,5}'", "\"[^\"]{0,5}\""]
}

fn selector_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("all()".to_string()),
        Just("global( )".to_string()),
        label().prop_map(|l| format!("has( {l} )")),
        (
            label(),
            "==|!=| contains|\tstarts with|startswith | ends  with|endswith",
            text()
        )
            .prop_map(|(l, o, t)| format!("{l} {o} {t}")),
        (
            label(),
            " in| not in|  notin",
            prop::collection::vec(text(), 0..4)
        )
            .prop_map(|(l, o, t)| format!("{l}{o}{{{}}}", t.join(" , "))),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|e| format!("! ({e})")),
            inner.clone().prop_map(|e| format!("!!{e}")),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|e| format!("({})", e.join("&&"))),
            prop::collection::vec(inner, 2..4).prop_map(|e| e.join(" || ")),
        ]
    })
}

proptest! {
    #[test]
    fn the_normal_form_is_the_same_selector(text in selector_text(), a in "[a-z]{0,2}", other in "[a-z]{0,2}") {
        let selector = Selector::parse(&text).unwrap();
        let normal = selector.to_string();
        let again = Selector::parse(&normal).unwrap();
        prop_assert_eq!(&again, &selector);
        prop_assert_eq!(again.to_string(), normal);
        let labels = labels(&[("a", &a), ("in", &other)]);
        prop_assert_eq!(again.matches(&labels), selector.matches(&labels));
    }

    #[test]
    fn any_text_is_a_selector_or_an_error(text in "[a-c'\" (){}!&|=,\tinhasol]{0,40}") {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        }
    }
}
