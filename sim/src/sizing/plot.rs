//! A plot: seconds of proving by cap, a line a design. A few lines of SVG, and no library to draw them.

use std::fmt::Write;

use super::cache::Design;
use super::table::{self, Row, Sizing, Table};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;

/// An SVG document with a panel a table.
pub fn svg(sizing: &Sizing) -> String {
    let height = HEIGHT * sizing.tables.len() as f64 + 40.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut out, LEFT, 24.0, "start", &sizing.chain);
    for (index, table) in sizing.tables.iter().enumerate() {
        panel(&mut out, table, 40.0 + HEIGHT * index as f64);
    }
    out += "</svg>\n";
    out
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

fn line(out: &mut String, points: &[(f64, f64)], colour: &str) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let points = points.join(" ");
    let _ =
        writeln!(out, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
}

fn panel(out: &mut String, table: &Table, y: f64) {
    // Without a cache there is one row for all caps: a level line.
    let of_cache = |row: &&Row| row.design != Design::None;
    let mut ticks: Vec<&str> = vec![];
    for row in table.rows.iter().filter(of_cache) {
        if !ticks.contains(&row.of.as_str()) {
            ticks.push(&row.of);
        }
    }
    let most = table.rows.iter().map(|row| row.seconds_spent).fold(1.0, f64::max);
    let least = table.rows.iter().map(|row| row.seconds_spent).fold(most, f64::min);
    let low = if least > most * 0.5 { least - (most - least).max(most * 0.001) } else { 0.0 };
    let (bottom, right) = (y + HEIGHT - BOTTOM, WIDTH - RIGHT);
    let step = (right - LEFT) / (ticks.len().max(2) - 1) as f64;
    let place = |tick: usize| LEFT + step * tick as f64;
    let level = |seconds: f64| bottom - (seconds - low) / (most - low) * (bottom - y - TOP);

    text(out, LEFT, y + TOP - 20.0, "start", &format!("seconds of proving by {}", table.by));
    line(out, &[(LEFT, y + TOP), (LEFT, bottom), (right, bottom)], "black");
    for part in 0..=4 {
        let seconds = low + (most - low) * f64::from(part) / 4.0;
        text(out, LEFT - 8.0, level(seconds) + 4.0, "end", &format!("{seconds:.0}"));
    }
    for (index, tick) in ticks.iter().enumerate() {
        text(out, place(index), bottom + 18.0, "middle", tick);
    }
    for (design, colour) in Design::ALL.into_iter().zip(["#999999", "#d95f02", "#1b6ca8"]) {
        let of_design: Vec<&Row> = table.rows.iter().filter(|row| row.design == design).collect();
        let at = |row: &Row| ticks.iter().position(|tick| *tick == row.of);
        let mut points: Vec<(f64, f64)> =
            of_design.iter().filter_map(|row| Some((place(at(row)?), level(row.seconds_spent)))).collect();
        if let ([], Some(row)) = (points.as_slice(), of_design.first()) {
            points = vec![(LEFT, level(row.seconds_spent)), (right, level(row.seconds_spent))];
        }
        line(out, &points, colour);
        let from_top = y + TOP + 18.0 * design as u8 as f64;
        line(out, &[(right + 10.0, from_top), (right + 30.0, from_top)], colour);
        text(out, right + 36.0, from_top + 4.0, "start", design.name());
    }
    let peak = table.rows.iter().map(|row| row.bytes_peak).max().unwrap_or_default();
    text(out, right + 10.0, y + TOP + 70.0, "start", &format!("peak {}", table::bytes(peak)));
}
