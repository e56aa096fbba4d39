//! Tables that fit the terminal, and are not cut when there is none.

use comfy_table::{CellAlignment, ContentArrangement, Table as ComfyTable, presets};

use super::format::printable;

/// On which side of a column its cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// A table to be filled.
#[derive(Debug)]
pub(crate) struct Table {
    inner: ComfyTable,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let mut inner = ComfyTable::new();
        inner.load_style(presets::NOTHING);
        inner.force_no_tty();
        inner.set_header(columns.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (column, (_, align)) in inner.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        Self { inner }
    }

    /// Adds a row. Cells are made printable.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells: Vec<String> = cells
            .into_iter()
            .map(|cell| printable(cell.as_ref()).into_owned())
            .collect();
        self.inner.add_row(cells);
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// The text, wrapped into a width if there is one.
    pub(crate) fn render(mut self, width: Option<u16>) -> String {
        if let Some(width) = width {
            self.inner.set_width(width);
            self.inner
                .set_content_arrangement(ContentArrangement::Dynamic);
        }
        let mut text = self.inner.trim_fmt();
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = Table::new(&[("ID", Align::Left), ("Size", Align::Right)]);
        table.row(["3fc2a9", "14 MB"]);
        table.row(["evil\x1b[2J", "999 kB"]);
        table
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(
            example().render(None),
            "ID               Size\n3fc2a9          14 MB\nevil\\u{1b}[2J  999 kB\n"
        );
    }

    #[test]
    fn a_table_fits_its_width() {
        let mut table = example();
        table.row(["a long sentence that does not fit at all", "1 B"]);
        let text = table.render(Some(30));
        assert!(
            text.lines().all(|line| line.chars().count() <= 30),
            "{text}"
        );
    }
}
