//! Tables that fit a terminal without breaking a word.

use std::fmt;

use comfy_table::{
    CellAlignment, Table, TableStyle,
    presets::{NOTHING, UTF8_FULL_CONDENSED},
};
use console::{Style, measure_text_width};

use crate::terminal::{output_width, wrapped};

/// A table. Where there is no terminal its rows are lines, which other tools can search.
pub(crate) struct Grid {
    header: Vec<String>,
    /// The indexes of the columns that are numbers.
    numbers: Vec<usize>,
    /// The indexes of the columns with texts of any length, which get lines of their own below their row if there is no
    /// room beside it.
    texts: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub(crate) fn new<const N: usize>(
        header: [&str; N],
        numbers: &[usize],
        texts: &[usize],
    ) -> Self {
        Self {
            header: header.map(str::to_owned).into(),
            numbers: numbers.to_owned(),
            texts: texts.to_owned(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn add_row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    fn fit(&self, width: Option<usize>) -> String {
        let all: Vec<usize> = (0..self.header.len()).collect();
        let whole = self.table(&all, UTF8_FULL_CONDENSED);
        let Some(width) = width else {
            return whole.to_string();
        };
        if fits(&whole, width) {
            return whole.to_string();
        }
        let short: Vec<usize> = (all.iter().copied())
            .filter(|it| !self.texts.contains(it))
            .collect();
        let table = self.table(&short, NOTHING);
        match fits(&table, width) {
            true => self.with_texts(&table, width),
            false => self.one_below_the_other(width),
        }
    }

    fn table(&self, columns: &[usize], style: TableStyle) -> Table {
        let mut table = Table::new();
        table.load_style(style);
        let cells = |row: &[String]| -> Vec<String> {
            let cells = columns.iter().filter_map(|it| row.get(*it).cloned());
            cells.collect()
        };
        table.set_header(cells(&self.header));
        table.add_rows(self.rows.iter().map(|row| cells(row)));
        for (place, index) in columns.iter().enumerate() {
            if let Some(column) = table.column_mut(place)
                && self.numbers.contains(index)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// The table, of which each row is followed by its texts.
    fn with_texts(&self, table: &Table, width: usize) -> String {
        let mut lines = table.lines();
        let mut text: Vec<String> = lines.next().into_iter().collect();
        for (row, line) in self.rows.iter().zip(lines) {
            text.push(line);
            for index in &self.texts {
                text.extend(self.named(row, *index, 4, width));
            }
        }
        let lines = text.iter().map(|line| line.trim_end());
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Each row as lines of a name and a value, with an empty line between two rows.
    fn one_below_the_other(&self, width: usize) -> String {
        let rows = self.rows.iter().map(|row| {
            let columns = 0..self.header.len();
            let lines = columns.filter_map(|index| self.named(row, index, 0, width));
            lines.collect::<Vec<_>>().join("\n")
        });
        rows.collect::<Vec<_>>().join("\n\n")
    }

    /// A cell after the name of its column; none if it is empty.
    fn named(&self, row: &[String], index: usize, indent: usize, width: usize) -> Option<String> {
        let name = self.header.get(index)?;
        let value = row.get(index).filter(|value| !value.is_empty())?;
        let value = value.lines().collect::<Vec<_>>().join("; ");
        let text = [(Style::new(), format!("{name}: {value}"))];
        let lines = wrapped(&text, (indent, indent + 4), width);
        Some(format!("{:indent$}{lines}", ""))
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.fit(output_width()))
    }
}

fn fits(table: &Table, width: usize) -> bool {
    let mut lines = table.lines();
    lines.all(|line| measure_text_width(line.trim_end()) <= width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Grid {
        let mut grid = Grid::new(
            ["group", "letters", "event", "handler", "kind", "message"],
            &[1],
            &[5],
        );
        let mut add = |id: &str, count: &str, message: &str| {
            grid.add_row(
                [
                    id,
                    count,
                    "OrderPlaced",
                    "reserve_stock",
                    "transient",
                    message,
                ]
                .map(str::to_owned),
            );
        };
        add(
            "3f2a91c0",
            "12",
            "cannot read the stock of widget-7: the connection was closed before a message was complete",
        );
        add("a1", "1", "no such product");
        grid
    }

    #[test]
    fn a_wide_terminal_has_the_whole_table() {
        let whole = "\
┌──────────┬─────────┬─────────────┬───────────────┬───────────┬────────────────────────────────────────────────────────────────────────────────────────────┐
│ group    ┆ letters ┆ event       ┆ handler       ┆ kind      ┆ message                                                                                    │
╞══════════╪═════════╪═════════════╪═══════════════╪═══════════╪════════════════════════════════════════════════════════════════════════════════════════════╡
│ 3f2a91c0 ┆      12 ┆ OrderPlaced ┆ reserve_stock ┆ transient ┆ cannot read the stock of widget-7: the connection was closed before a message was complete │
│ a1       ┆       1 ┆ OrderPlaced ┆ reserve_stock ┆ transient ┆ no such product                                                                            │
└──────────┴─────────┴─────────────┴───────────────┴───────────┴────────────────────────────────────────────────────────────────────────────────────────────┘";
        assert_eq!(groups().fit(Some(200)), whole);
        assert_eq!(groups().fit(None), whole, "without a terminal, too");
    }

    #[test]
    fn on_80_columns_the_texts_are_below_their_rows() {
        let lines = [
            " group     letters  event        handler        kind",
            " 3f2a91c0       12  OrderPlaced  reserve_stock  transient",
            "    message: cannot read the stock of widget-7: the connection was closed before",
            "        a message was complete",
            " a1              1  OrderPlaced  reserve_stock  transient",
            "    message: no such product",
        ];
        assert_eq!(groups().fit(Some(80)), lines.join("\n"));
    }

    #[test]
    fn where_no_table_fits_names_and_values_do() {
        let mut grid = Grid::new(["queue", "letters", "of"], &[1], &[2]);
        let name = "shop-ReserveStockQueue-DeadLetterQueue-1A2B3C";
        grid.add_row([name.to_owned(), "12".to_owned(), "a, b".to_owned()]);
        grid.add_row(["q".to_owned(), "1".to_owned(), String::new()]);
        assert_eq!(
            grid.fit(Some(40)),
            format!("queue:\n    {name}\nletters: 12\nof: a, b\n\nqueue: q\nletters: 1")
        );
    }
}
