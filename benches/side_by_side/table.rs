//! From samples to medians and ratios, as Markdown.

/// What one row of a table did in one round.
#[derive(Debug, Clone)]
pub(crate) struct Sample<V> {
    pub(crate) round: u32,
    pub(crate) row: &'static str,
    pub(crate) values: V,
}

/// One measured quantity, and how it is printed.
pub(crate) struct Column<V> {
    pub(crate) heading: &'static str,
    pub(crate) of: fn(&V) -> Option<f64>,
    pub(crate) decimals: usize,
}

/// One quantity of a row divided by one of another row in the same round.
pub(crate) struct Ratio<V> {
    pub(crate) heading: &'static str,
    pub(crate) of: fn(&V) -> Option<f64>,
    pub(crate) row: &'static str,
    pub(crate) by: fn(&V) -> Option<f64>,
}

/// The figures and, below them, the ratios.
pub(crate) fn print<V>(rows: &[&'static str], columns: &[Column<V>], ratios: &[Ratio<V>], samples: &[Sample<V>]) {
    let figures = rows.iter().map(|row| {
        let cell = |column: &Column<V>| {
            let own = samples.iter().filter(|sample| sample.row == *row);
            let values = own.filter_map(|sample| (column.of)(&sample.values)).collect();
            spread(values, column.decimals).unwrap_or_else(nothing)
        };
        (*row, columns.iter().map(cell).collect())
    });
    print_table("median (lowest to highest)", columns.iter().map(|column| column.heading), figures);
    println!();
    let quotients = rows.iter().map(|row| {
        let cell = |ratio: &Ratio<V>| {
            let median = median(ratio.in_each_round(samples, row));
            median.map_or_else(nothing, |median| format!("{median:.2}"))
        };
        (*row, ratios.iter().map(cell).collect())
    });
    print_table("median of the ratios", ratios.iter().map(|ratio| ratio.heading), quotients);
}

impl<V> Ratio<V> {
    fn in_each_round(&self, samples: &[Sample<V>], row: &str) -> Vec<f64> {
        let own = samples.iter().filter(|sample| sample.row == row);
        own.filter_map(|own| {
            let other = samples.iter().find(|other| other.row == self.row && other.round == own.round)?;
            Some((self.of)(&own.values)? / (self.by)(&other.values)?)
        })
        .collect()
    }
}

fn spread(values: Vec<f64>, decimals: usize) -> Option<String> {
    let lowest = values.iter().copied().reduce(f64::min)?;
    let highest = values.iter().copied().reduce(f64::max)?;
    let median = median(values)?;
    Some(format!("{median:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})"))
}

fn nothing() -> String {
    "–".to_owned()
}

/// `None` of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((below + above) / 2.0)
}

/// Columns as wide as their widest cell, so that it reads well before it is rendered, too.
fn print_table<'a>(
    corner: &'a str,
    headings: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = (&'a str, Vec<String>)>,
) {
    let heading = (corner, headings.map(str::to_owned).collect::<Vec<_>>());
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let width = |cell: &str| cell.chars().count();
    let first = rows.iter().map(|row| width(row.0)).max().unwrap_or(0);
    let others: Vec<_> =
        (0..rows[0].1.len()).map(|at| rows.iter().map(|row| width(&row.1[at])).max().unwrap_or(0)).collect();
    for (number, (name, cells)) in rows.iter().enumerate() {
        print!("| {name:first$} |");
        cells.iter().zip(&others).for_each(|(cell, width)| print!(" {cell:>width$} |"));
        println!();
        if number == 0 {
            print!("|-{}-|", "-".repeat(first));
            others.iter().for_each(|width| print!("-{}:|", "-".repeat(*width)));
            println!();
        }
    }
}
