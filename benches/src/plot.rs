//! A line plot as SVG, by hand: a few polylines on a logarithmic scale, readable on light and dark ground.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
/// Told apart also by people who see colours differently.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name, written at its end.
    pub name: String,
    /// Places and values; values above 0.
    pub points: Vec<(f64, f64)>,
}

/// Draws series over hours, values in bytes on a logarithmic scale.
pub fn bytes_by_hour(title: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|line| line.points.iter());
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    let low = points()
        .map(|point| point.1)
        .fold(f64::INFINITY, f64::min)
        .max(1.0);
    let high = points().map(|point| point.1).fold(10.0, f64::max);
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    let x = |hour: f64| LEFT + hour / last * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| {
        let share = (value.max(1.0).log10() - low) / (high - low).max(1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{title}</text>\n"
    );
    for power in (low as i32)..=(high as i32) {
        let value = 10_f64.powi(power);
        let at = y(value);
        let _infallible = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            unit(value),
        );
    }
    let step = (last / 12.0).ceil().max(1.0) as usize;
    for hour in (0..=last as usize).step_by(step) {
        let _infallible = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{hour}</text>",
            x(hour as f64),
            HEIGHT - BOTTOM + 18.0,
        );
    }
    let mut labels: Vec<f64> = Vec::new();
    for (line, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|(hour, value)| format!("{:.1},{:.1}", x(*hour), y(*value)))
            .collect();
        let end = line.points.last().map_or(HEIGHT, |point| y(point.1));
        // A label that would lie on another moves down.
        let mut label = end;
        while labels.iter().any(|other| (other - label).abs() < 13.0) {
            label += 13.0;
        }
        labels.push(label);
        let _infallible = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            path.join(" "),
            WIDTH - RIGHT + 8.0,
            label + 4.0,
            line.name,
        );
    }
    out.push_str("</svg>\n");
    out
}

fn unit(bytes: f64) -> String {
    match bytes {
        b if b >= 1e9 => format!("{} GB", b / 1e9),
        b if b >= 1e6 => format!("{} MB", b / 1e6),
        b if b >= 1e3 => format!("{} KB", b / 1e3),
        b => format!("{b} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_drawn_and_named() {
        let line = |name: &str, value| Series {
            name: name.to_owned(),
            points: (0..12).map(|hour| (f64::from(hour), value)).collect(),
        };
        let svg = bytes_by_hour(
            "bytes",
            &[line("one", 2e6), line("two", 6e7), line("three", 6e7)],
        );
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert!(
            ["one", "two", "three"]
                .iter()
                .all(|name| svg.contains(&format!(">{name}<")))
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
