//! How the command's tables look in a terminal: names to the left, numbers to the right, no lines.

use comfy_table::{CellAlignment, Table};
use std::fmt::Write;

/// Appends a table, its first column aligned left and the others right.
pub fn print_columns(out: &mut String, table: &mut Table) {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((2, 0));
        column.set_cell_alignment(if index == 0 {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        });
    }
    for line in table.lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
