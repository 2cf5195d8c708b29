//! Go templates, as far as `-o go-template` needs them.
//!
//! There are text, comments, trim marks, `if`, `else`, `range`, `with`, variables, pipelines, parentheses and the
//! functions `and or not eq ne lt le gt ge len index print println printf join joinAndTruncate config`. Anything else is
//! refused by name. Fields have Calico's Go names (`.Spec.CIDR`, `.Name` or `.ObjectMeta.Name`). A field that a resource
//! leaves out is empty, where Go would print the zero of its type.

mod parse;
mod render;

use serde_json::Value;

/// A template, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is not understood.
    pub fn parse(text: &str) -> Result<Template, String> {
        let nodes = parse::parse(text).map_err(|error| format!("template: get:1: {error}"))?;
        Ok(Template { nodes })
    }

    /// The text for these results; `as_number` is what `config "asnumber"` says.
    ///
    /// # Errors
    /// What cannot be evaluated.
    pub fn render(&self, results: &[&Value], as_number: u64) -> Result<String, String> {
        let dot = Value::Array(results.iter().map(|v| (*v).clone()).collect());
        render::render(&self.nodes, &dot, as_number)
            .map_err(|error| format!("template: get:1: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expected: Result<&str, &str>) {
        let list = json!({"kind": "IPPoolList", "metadata": {"resourceVersion": "7"}, "items": [
            {"kind": "IPPool", "metadata": {"name": "a", "labels": {"zone": "x"}}, "spec": {"cidr": "10.0.0.0/16", "natOutgoing": true, "blockSize": 26, "allowedUses": ["Workload", "Tunnel"]}},
            {"kind": "IPPool", "metadata": {"name": "b"}, "spec": {"cidr": "10.1.0.0/16", "natOutgoing": false, "blockSize": 24}},
        ]});
        let text = Template::parse(template).and_then(|t| t.render(&[&list], 64512));
        assert_eq!(
            text,
            expected
                .map(String::from)
                .map_err(|e| format!("template: get:1: {e}")),
            "{template}"
        );
    }

    fn check_items(template: &str, expected: &str) {
        check(
            &format!("{{{{range .}}}}{{{{range .Items}}}}{template}{{{{end}}}}{{{{end}}}}"),
            Ok(expected),
        );
    }

    #[test]
    fn templates_are_rendered() {
        check("text", Ok("text"));
        check_items("{{.Name}},{{.Spec.CIDR}},", "a,10.0.0.0/16,b,10.1.0.0/16,");
        check_items("{{.ObjectMeta.Name}}{{\"\\n\"}}", "a\nb\n");
        check_items("{{if .Spec.NATOutgoing}}{{.Name}}{{else}}-{{end}}", "a-");
        check_items(
            "{{if eq .Spec.BlockSize 24}}24{{else if eq .Name \"a\"}}A{{end}}",
            "A24",
        );
        check_items("{{join .Spec.AllowedUses \",\"}};", "Workload,Tunnel;;");
        check_items("{{.Spec.AllowedUses}}", "[Workload Tunnel]");
        check_items(
            "{{range $i, $u := .Spec.AllowedUses}}{{$i}}={{$u}} {{else}}none{{end}}",
            "0=Workload 1=Tunnel none",
        );
        check_items(
            "{{$n := .Name}}{{with .Labels}}{{.zone}}{{$n}}{{end}}",
            "xa",
        );
        check_items(
            "{{ .Name | printf \"%s-%d\" | print }} ",
            "a-%!d(MISSING) b-%!d(MISSING) ",
        );
        check_items(
            "{{printf \"%v|%q\" .Spec.BlockSize .Name}} ",
            "26|\"a\" 24|\"b\" ",
        );
        check_items("{{- /* nothing */ -}} {{- len .Name}}", "11");
        check_items(
            "{{if and .Spec.NATOutgoing (not (eq .Name \"b\"))}}y{{end}}",
            "y",
        );
        check(
            "{{range .}}{{config \"asnumber\"}} {{.ListMeta.ResourceVersion}} {{(index .Items 1).Name}}{{end}}",
            Ok("64512 7 b"),
        );
        check_items(
            "{{joinAndTruncate .Spec.AllowedUses \",\" 10}}",
            "Workloa...",
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        check(
            "{{template \"x\"}}",
            Err("\"template\" is not supported here"),
        );
        check("{{foo .}}", Err("function \"foo\" not defined"));
        check("{{.Name", Err("unclosed action"));
        check("{{if .}}x", Err("unexpected EOF"));
        check("{{end}}", Err("unexpected {{end}}"));
        check("{{$x}}", Err("undefined variable \"$x\""));
        check("{{range .}}{{range .Name}}{{end}}{{end}}", Ok(""));
    }
}
