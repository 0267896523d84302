//! The ratios as bars, in SVG: a logarithmic scale, with lines at one and at a half.

use std::fmt::Write;

use super::figures::{Outcome, Pair};

/// Pixels.
const NAMES: f64 = 250.0;
const BARS: f64 = 560.0;
const ROW: f64 = 18.0;
const HEAD: f64 = 54.0;
const AFTER: f64 = 70.0;

/// What of Linux's figure is asked for at most.
const TARGET: f64 = 0.5;

/// A chart of all rows, with a title.
pub(super) fn svg(title: &str, pairs: &[Pair]) -> String {
    let ratios: Vec<f64> = pairs.iter().filter_map(Pair::ratio).collect();
    // Whole powers of two around all that there is.
    let least = ratios.iter().copied().fold(TARGET / 2.0, f64::min).log2().floor();
    let most = ratios.iter().copied().fold(2.0, f64::max).log2().ceil();
    let x = |ratio: f64| NAMES + (ratio.log2() - least) / (most - least) * BARS;
    let (width, height) = (NAMES + BARS + AFTER, HEAD + ROW * pairs.len() as f64 + 12.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    for power in least as i32..=most as i32 {
        let ratio = 2f64.powi(power);
        let (colour, wide) =
            if ratio == 1.0 || ratio == TARGET { ("#444444", 1.5) } else { ("#dddddd", 1.0) };
        // A String takes whatever is written to it.
        let _ = writeln!(
            svg,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1}\" y2=\"{2}\" stroke=\"{colour}\" stroke-width=\"{wide}\"/>\
             <text x=\"{0:.1}\" y=\"{3}\" text-anchor=\"middle\" fill=\"#666666\">{ratio}</text>",
            x(ratio),
            HEAD - 6.0,
            height - 8.0,
            HEAD - 10.0
        );
    }
    for (at, pair) in pairs.iter().enumerate() {
        let top = HEAD + ROW * at as f64;
        let base = top + ROW - 5.0;
        let name = escaped(&pair.row.name);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{name}</text>", NAMES - 8.0);
        let _ = match pair.ratio() {
            Some(ratio) => {
                let (from, to) = (x(1.0).min(x(ratio)), x(1.0).max(x(ratio)));
                let after = to.max(x(1.0)) + 4.0;
                writeln!(
                    svg,
                    "<rect x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>\
                     <text x=\"{after:.1}\" y=\"{base}\" fill=\"#444444\">{ratio:.2}</text>",
                    top + 2.0,
                    to - from,
                    ROW - 4.0,
                    colour(ratio)
                )
            }
            None => {
                let why = match (&pair.rux, &pair.linux) {
                    (Outcome::NotBuilt(errno), _) => format!("not built ({errno})"),
                    (_, Outcome::NotBuilt(errno)) => format!("not built on Linux ({errno})"),
                    _ => "failed".into(),
                };
                let from = x(1.0) + 4.0;
                writeln!(svg, "<text x=\"{from:.1}\" y=\"{base}\" fill=\"#999999\">{}</text>", escaped(&why))
            }
        };
    }
    svg.push_str("</svg>\n");
    svg
}

fn colour(ratio: f64) -> &'static str {
    match ratio {
        _ if ratio <= TARGET => "#2e8b57",
        _ if ratio <= 1.0 => "#d9a520",
        _ => "#c0392b",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures;

    #[test]
    fn a_bar_goes_from_one_to_the_ratio() {
        let (linux, rux) = figures::tests::example();
        let svg = svg("Rux & Linux", &figures::pairs(&linux, &rux));
        assert!(svg.contains("Rux &amp; Linux"));
        // From a quarter to two: three powers over the whole width.
        let half = format!("<rect x=\"{:.1}\" y=\"56\" width=\"{:.1}\"", NAMES + BARS / 3.0, BARS / 3.0);
        assert!(svg.contains(&half), "{svg}");
        assert!(svg.contains(">not built (EINVAL)<") && svg.contains(">2.00<"));
        assert_eq!(svg.matches("<rect").count(), 3, "the ground and two bars");
    }
}
