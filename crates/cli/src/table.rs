//! Tables for people.

/// Columns of text, each as wide as its longest cell, two blanks between them.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// With these headings; a heading that starts with `>` makes a right-aligned column.
    pub fn new(headings: &[&str]) -> Table {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let heading = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        Table { rows: vec![heading], right }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// The text, every line with a newline, no blanks at line ends.
    pub fn text(&self) -> String {
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), &right) in row.iter().zip(&widths).zip(&self.right) {
                let cell = if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.push_str(&cell);
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Without control characters: names and aliases are what initiators say they are, and a terminal obeys what it is sent.
pub fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// Facts, a line each: what it is, two blanks, the fact.
pub fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    rows.iter().map(|(what, fact)| format!("{}\n", format!("{what:<width$}  {}", plain(fact)).trim_end())).collect()
}

/// `1 unit`, `2 units`.
pub fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_line_up() {
        assert_eq!(facts(&[("name", "a".into()), ("of", String::new())]), "name  a\nof\n");
    }

    #[test]
    fn a_terminal_is_sent_no_commands_of_initiators() {
        let mut table = Table::new(&["ALIAS"]);
        table.row(vec!["a\u{1b}[2J\nb".into()]);
        assert_eq!(table.text(), "ALIAS\na?[2J?b\n");
        assert_eq!(facts(&[("alias", "\u{9b}x".into())]), "alias  ?x\n");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[">#", "NAME"]);
        table.row(vec!["12".into(), "a".into()]);
        table.row(vec!["3".into(), "long".into()]);
        assert_eq!(table.text(), " #  NAME\n12  a\n 3  long\n");
    }
}
