//! Figures as JSON (RFC 8259).

use std::fmt::Write;

use super::figures::{Outcome, Pair};

/// A value; `Text` is escaped when it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl Json {
    pub(super) fn text(text: &str) -> Json {
        Json::Text(text.into())
    }

    pub(super) fn number(number: Option<f64>) -> Json {
        // JSON knows no infinities.
        number.filter(|number| number.is_finite()).map_or(Json::Null, Json::Number)
    }

    /// The value with a line for each element of its lists.
    pub(super) fn written(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text.push('\n');
        text
    }

    fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            // A String takes whatever is written to it.
            Json::Number(number) => {
                let _ = write!(out, "{number}");
            }
            Json::Text(text) => write_text(text, out),
            Json::List(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at == 0 { "\n" } else { ",\n" });
                    value.write(out);
                }
                out.push_str("\n]");
            }
            Json::Object(fields) => {
                out.push('{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { ", " });
                    write_text(name, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// One row on both kernels.
pub(super) fn pair(pair: &Pair) -> Json {
    Json::Object(vec![
        ("name", Json::text(&pair.row.name)),
        ("unit", Json::text(&pair.row.unit)),
        ("shape", Json::text(&pair.row.shape)),
        ("linux", outcome(&pair.linux)),
        ("rux", outcome(&pair.rux)),
        ("ratio", Json::number(pair.ratio())),
    ])
}

fn outcome(outcome: &Outcome) -> Json {
    Json::Object(match outcome {
        Outcome::Counted { instructions, fences, requests, asked } => vec![
            ("instructions", Json::number(Some(*instructions))),
            ("local_fences", Json::number(*fences)),
            ("remote_fences", Json::number(*requests)),
            ("interrupts", Json::number(*asked)),
        ],
        Outcome::NotBuilt(errno) => vec![("not_built", Json::text(errno))],
        Outcome::Failed(status) => vec![("failed", Json::text(status))],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures;

    #[test]
    fn what_is_special_is_escaped() {
        let value = Json::Object(vec![
            ("a", Json::text("\"\\\n")),
            ("b", Json::List(vec![Json::Number(1.5), Json::number(Some(f64::INFINITY))])),
        ]);
        assert_eq!(value.written(), "{\"a\": \"\\\"\\\\\\u000a\", \"b\": [\n1.5,\nnull\n]}\n");
    }

    #[test]
    fn a_row_has_both_kernels_and_their_ratio() {
        let (linux, rux) = figures::tests::example();
        let pairs = figures::pairs(&linux, &rux);
        let text = pair(&pairs[0]).written();
        assert!(text.contains(r#""linux": {"instructions": 240, "local_fences": null"#), "{text}");
        assert!(text.contains(r#""interrupts": 0.25}, "ratio": 0.5}"#), "{text}");
        assert!(pair(&pairs[2]).written().contains(r#""rux": {"not_built": "EINVAL"}, "ratio": null"#));
    }
}
