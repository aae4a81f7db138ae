//! How the command's tables look in a terminal: names to the left, numbers to the right, no lines; what does not fit
//! is left out by importance, not wrapped.

use comfy_table::{CellAlignment, ColumnConstraint, Table};
use std::fmt::Write;
use std::io::IsTerminal;

/// Stand for colours while widths are computed: characters without a width. See [`toned`].
const MARKS: [(char, &str); 3] =
    [('\u{200b}', "\u{1b}[32m"), ('\u{200c}', "\u{1b}[31m"), ('\u{200d}', "\u{1b}[0m")];

/// How a cell is to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Green.
    Good,
    /// Red.
    Bad,
}

/// A cell's text in colour.
pub fn toned(text: &str, tone: Tone) -> String {
    let (mark, _) = MARKS[usize::from(tone == Tone::Bad)];
    format!("{mark}{text}{}", MARKS[2].0)
}

/// Columns of the terminal that standard output is; none if it is none.
pub fn terminal() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// Appends a table, its first column aligned left and the others right.
pub fn print_columns(out: &mut String, table: &mut Table) {
    print_within(out, table, None, &[]);
}

/// Appends a table that is at most `width` wide: else columns are left out, those of `spare` in its order, as many as
/// it takes. Says so.
pub fn print_within(out: &mut String, table: &mut Table, width: Option<usize>, spare: &[usize]) {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((2, 0));
        column.set_cell_alignment(if index == 0 {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        });
    }
    let mut hidden = 0;
    for index in spare {
        if width.is_none_or(|width| widest(table) <= width) {
            break;
        }
        if let Some(column) = table.column_mut(*index) {
            column.set_constraint(ColumnConstraint::Hidden);
            hidden += 1;
        }
    }
    for line in table.lines() {
        let mut line = line.trim_end().to_owned();
        for (mark, colour) in MARKS {
            line = line.replace(mark, colour);
        }
        let _ = writeln!(out, "{line}");
    }
    if hidden > 0 {
        let what = if hidden == 1 { "column does" } else { "columns do" };
        let _ = writeln!(out, "  ({hidden} {what} not fit this terminal)");
    }
}

fn widest(table: &Table) -> usize {
    let is_seen = |c: &char| MARKS.iter().all(|(mark, _)| c != mark);
    let width = |line: String| line.trim_end().chars().filter(is_seen).count();
    table.lines().map(width).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use comfy_table::presets;

    fn printed(width: Option<usize>, spare: &[usize]) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.add_row(["", "time", "faults", "ratio"]);
        table.add_row(["stock", "10 ms", "1 000", "1"]);
        table.add_row(["memento", "9 ms", "900", &*toned("0.90", Tone::Good)]);
        let mut out = String::new();
        print_within(&mut out, &mut table, width, spare);
        out
    }

    #[test]
    fn colours_take_no_room() {
        let want = "            time  faults  ratio\n  stock    10 ms   1 000      1\n  \
            memento   9 ms     900   \u{1b}[32m0.90\u{1b}[0m\n";
        assert_eq!(printed(None, &[]), want);
        assert_eq!(printed(Some(31), &[2]), want, "it fits");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let out = printed(Some(30), &[2, 1]);
        assert!(out.contains("time") && !out.contains("faults") && out.contains("ratio"), "{out}");
        assert!(out.ends_with("  (1 column does not fit this terminal)\n"), "{out}");
        assert!(!printed(Some(20), &[2, 1]).contains("time"));
        assert!(printed(Some(2), &[]).contains("faults"), "the rest stays");
    }
}
