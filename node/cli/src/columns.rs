//! Columns of text, as Docker's tables have them.

/// Narrowest column.
const WIDTH_MIN: usize = 10;
/// Between two columns.
const GAP: usize = 3;

/// Lines whose cells end in tabs become columns. The last cell of a line is no column: its width
/// moves nothing.
pub(crate) fn align(lines: &[String]) -> String {
    let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for line in &cells {
        for (nth, cell) in line.iter().take(line.len() - 1).enumerate() {
            let width = (cell.chars().count() + GAP).max(WIDTH_MIN);
            match widths.get_mut(nth) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for line in &cells {
        let (last, padded) = line.split_last().unwrap_or((&"", &[]));
        for (cell, width) in padded.iter().zip(&widths) {
            text.push_str(&format!("{cell:<width$}"));
        }
        text.push_str(last);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_and_the_last_is_not() {
        let lines = ["ID\tNAME\tPORTS", "0123456789ab\tweb\t*:8080->80/tcp", "a\té\t"];
        let lines = lines.map(str::to_owned);
        let after = "\
ID             NAME      PORTS
0123456789ab   web       *:8080->80/tcp
a              é         \n";
        assert_eq!(align(&lines), after);
    }
}
