//! Tables: for people as text, for programs as JSON. Names of figures have their units.

use std::fmt;

use serde_json::{Map, Value, json};

use super::load::Measured;
use super::machine::Machine;
use super::plot::Chart;

/// All that a measurement gives.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was measured; also the name of the files.
    pub name: &'static str,
    /// Where.
    pub machine: Machine,
    /// How, for programs.
    pub settings: Value,
    /// The figures.
    pub tables: Vec<Table>,
    /// Pictures of them.
    pub charts: Vec<Chart>,
}

impl Report {
    /// For programs.
    pub fn json(&self) -> Value {
        let tables = self.tables.iter().map(|table| (table.name.to_owned(), table.json()));
        json!({
            "bench": self.name,
            "machine": self.machine.json(),
            "settings": self.settings,
            "tables": tables.collect::<Map<_, _>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.machine)?;
        self.tables.iter().try_for_each(|table| write!(f, "\n\n{table}"))
    }
}

/// Figures in rows.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name for programs.
    pub name: &'static str,
    /// What it shows, in a line.
    pub title: String,
    /// What its columns are.
    pub columns: Vec<Column>,
    /// A cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// What a column has.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// For programs, with its unit.
    pub name: &'static str,
    /// For people; empty when people do not see it.
    pub head: &'static str,
}

/// A column, by its name and its head.
pub const fn column(name: &'static str, head: &'static str) -> Column {
    Column { name, head }
}

/// What came of a load, as [`figures`] fills it.
pub const FIGURES: [Column; 7] = [
    column("calls_per_second", "calls/s"),
    column("p50_us", "p50 us"),
    column("p99_us", "p99 us"),
    column("p999_us", "p99.9 us"),
    column("max_us", "max us"),
    column("errors", "errors"),
    column("calls_begun_late", ""),
];

/// A cell for each of [`FIGURES`].
pub fn figures(measured: &Measured) -> Vec<Cell> {
    let mut cells = vec![Cell::Number(measured.calls_per_second(), 0)];
    let latencies = [500, 990, 999, 1000].map(|permille| measured.latency_us(permille));
    cells.extend(latencies.map(|latency| Cell::Number(latency, 0)));
    cells.extend([measured.errors, measured.late].map(Cell::Count));
    cells
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A word.
    Text(String),
    /// A whole number.
    Count(u64),
    /// A number; people see so many decimals.
    Number(f64, usize),
    /// How many times as much.
    Ratio(f64),
    /// More for programs.
    Json(Value),
    /// It does not apply.
    None,
}

impl Cell {
    /// What a picture draws.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn number(&self) -> f64 {
        match self {
            Self::Count(count) => *count as f64,
            Self::Number(number, _) | Self::Ratio(number) => *number,
            Self::Text(_) | Self::Json(_) | Self::None => 0.0,
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Count(count) => (*count).into(),
            Self::Number(number, _) | Self::Ratio(number) => (*number).into(),
            Self::Json(value) => value.clone(),
            Self::None => Value::Null,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Count(count) => f.write_str(&grouped(&count.to_string())),
            Self::Number(number, decimals) => {
                f.write_str(&grouped(&format!("{number:.decimals$}")))
            }
            Self::Ratio(ratio) => write!(f, "{ratio:.2}x"),
            Self::Json(value) => write!(f, "{value}"),
            Self::None => f.write_str("-"),
        }
    }
}

/// With a comma between thousands.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (at, digit) in whole.char_indices() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

impl Table {
    fn json(&self) -> Value {
        let row = |cells: &Vec<Cell>| -> Value {
            let named = self.columns.iter().zip(cells);
            named.map(|(column, cell)| (column.name.to_owned(), cell.json())).collect()
        };
        self.rows.iter().map(row).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let shown = self.columns.iter().enumerate().filter(|(_, column)| !column.head.is_empty());
        let mut lines = vec![String::new(); self.rows.len() + 1];
        for (at, column) in shown {
            let cells = self.rows.iter().map(|row| row[at].to_string());
            let cells: Vec<_> = std::iter::once(column.head.to_owned()).chain(cells).collect();
            let width = cells.iter().map(String::len).max().unwrap_or(0);
            let is_text = self.rows.iter().all(|row| matches!(row[at], Cell::Text(_)));
            for (line, cell) in lines.iter_mut().zip(cells) {
                let gap = if line.is_empty() { "" } else { "  " };
                line.push_str(gap);
                let padding = " ".repeat(width - cell.len());
                let (left, right) = if is_text { ("", &*padding) } else { (&*padding, "") };
                line.extend([left, &cell, right]);
            }
        }
        let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            name: "pets",
            title: "Pets".to_owned(),
            columns: vec![column("kind", "kind"), column("legs_count", "legs"), column("raw", "")],
            rows: vec![
                vec![Cell::Text("dog".to_owned()), Cell::Count(4), Cell::Json(json!([1]))],
                vec![Cell::Text("millipede".to_owned()), Cell::Count(1000), Cell::None],
            ],
        }
    }

    #[test]
    fn people_see_aligned_columns() {
        let text = "Pets\nkind        legs\ndog            4\nmillipede  1,000";
        assert_eq!(table().to_string(), text);
    }

    #[test]
    fn programs_see_all_of_it() {
        let rows = json!([
            {"kind": "dog", "legs_count": 4, "raw": [1]},
            {"kind": "millipede", "legs_count": 1000, "raw": null},
        ]);
        assert_eq!(table().json(), rows);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (cell, text) in [
            (Cell::Count(0), "0"),
            (Cell::Count(999), "999"),
            (Cell::Count(1_234_567), "1,234,567"),
            (Cell::Number(-123.0, 0), "-123"),
            (Cell::Number(1234.56, 1), "1,234.6"),
            (Cell::Ratio(1.5), "1.50x"),
            (Cell::None, "-"),
        ] {
            assert_eq!(cell.to_string(), text);
        }
    }
}
