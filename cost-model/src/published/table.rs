//! Tables of published decode speeds: what is in them, and that it comes out again as it went in.

use std::io::Read;

/// Columns of such a table; a file may have more, which are passed on.
pub const COLUMNS: [&str; 11] = [
    "source",
    "engine",
    "model",
    "quant",
    "hardware",
    "n_devices",
    "bw_GBps_per_device_spec",
    "batch_or_concurrency",
    "context",
    "tok_s",
    "tag",
];

/// Of those, the ones that a file cannot do without.
const NEEDED: [&str; 5] = ["engine", "model", "quant", "hardware", "tok_s"];

/// Columns that validation adds.
pub const ADDED: [&str; 3] = ["predicted_tok_s", "ape", "flag"];

/// More rows than anybody publishes, and few enough that every one is predicted within minutes.
const MOST_ROWS: usize = 20_000;

/// Why a table cannot be read at all. What is wrong with one row becomes its flag.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Not CSV, or not readable.
    #[error("{name}: {what}; mend the file")]
    Csv {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A column is missing, or there twice.
    #[error("{name}: column `{column}` is there {times} times; wanted once each: {}", COLUMNS.join(","))]
    Column {
        /// The file.
        name: String,
        /// Which.
        column: String,
        /// How often.
        times: usize,
    },
    /// No rows, or too many.
    #[error("{name}: {rows} rows; wanted 1 to {MOST_ROWS}")]
    Rows {
        /// The file.
        name: String,
        /// How many.
        rows: usize,
    },
}

/// A table of decode speeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Columns as the file names them, without those that validation adds.
    pub columns: Vec<String>,
    /// Rows in the order of the file.
    pub rows: Vec<Row>,
}

/// A published speed, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// All cells, in the order of [`Table::columns`].
    pub cells: Vec<String>,
    /// Who published it.
    pub source: String,
    /// Engine.
    pub engine: String,
    /// Model.
    pub model: String,
    /// Weight format.
    pub quant: String,
    /// Device or machine.
    pub hardware: String,
    /// How many devices.
    pub devices: String,
    /// Bandwidth of one by its specification, 1e9 bytes/s.
    pub gb_per_s: String,
    /// Sequences at once.
    pub concurrency: String,
    /// Tokens before and during generation.
    pub context: String,
    /// Tokens per second.
    pub tok_s: String,
    /// `S`, `S-inferred`, `M`.
    pub tag: String,
}

/// The speeds that this version carries.
const OWN: &str = include_str!("../../data/published-decode.csv");

impl Table {
    /// The speeds that this version carries.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn own() -> Result<Self, TableError> {
        Self::read(OWN.as_bytes(), "data/published-decode.csv")
    }

    /// Reads a table; `name` stands for it in errors. Columns may come in any order and in any case.
    ///
    /// # Errors
    /// [`TableError`]
    pub fn read(input: impl Read, name: &str) -> Result<Self, TableError> {
        let csv = |e: &csv::Error| TableError::Csv { name: name.to_owned(), what: e.to_string().replace('\n', "; ") };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let header: Vec<String> = reader.headers().map_err(|e| csv(&e))?.iter().map(plain).collect();
        let named = |column: &str| -> Vec<usize> {
            let same = |(_, own): &(usize, &String)| own.eq_ignore_ascii_case(column);
            header.iter().enumerate().filter(same).map(|(i, _)| i).collect()
        };
        let mut at = [None; COLUMNS.len()];
        for (place, column) in at.iter_mut().zip(COLUMNS) {
            let found = named(column);
            if found.len() > 1 || found.is_empty() && NEEDED.contains(&column) {
                let (name, column) = (name.to_owned(), column.to_owned());
                return Err(TableError::Column { name, column, times: found.len() });
            }
            *place = found.first().copied();
        }
        let kept: Vec<usize> =
            (0..header.len()).filter(|&i| !ADDED.iter().any(|added| header[i].eq_ignore_ascii_case(added))).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|e| csv(&e))?;
            let cell = |i: usize| at[i].and_then(|i| record.get(i)).unwrap_or_default().to_owned();
            let [source, engine, model, quant, hardware, devices, gb_per_s, concurrency, context, tok_s, tag] =
                std::array::from_fn(cell);
            let cells = kept.iter().map(|&i| record.get(i).unwrap_or_default().to_owned()).collect();
            rows.push(Row {
                cells,
                source,
                engine,
                model,
                quant,
                hardware,
                devices,
                gb_per_s,
                concurrency,
                context,
                tok_s,
                tag,
            });
            if rows.len() > MOST_ROWS {
                break;
            }
        }
        if rows.is_empty() || rows.len() > MOST_ROWS {
            return Err(TableError::Rows { name: name.to_owned(), rows: rows.len() });
        }
        Ok(Self { columns: kept.into_iter().map(|i| header[i].clone()).collect(), rows })
    }
}

/// A column's name without the byte order mark that spreadsheets write.
fn plain(name: &str) -> String {
    name.trim_start_matches('\u{feff}').trim().to_owned()
}

impl Row {
    /// What makes two rows the same publication.
    pub(super) fn identity(&self) -> [&str; 8] {
        let Self { engine, model, quant, hardware, devices, concurrency, context, tok_s, .. } = self;
        [engine, model, quant, hardware, devices, concurrency, context, tok_s]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shared_rows_are_in_the_carried_table() {
        let own = Table::own().unwrap();
        assert_eq!(own.columns, COLUMNS);
        assert!(own.rows.len() > 400);
        let speeds = |hardware: &str| own.rows.iter().filter(|r| r.hardware == hardware).count();
        assert!(speeds("A100 SXM 80G") > 1 && speeds("PC-High 4090+i9-13900K 67.2GB/s") > 6);
    }

    #[test]
    fn order_case_extras_and_marks_do_not_matter() {
        let text = "\u{feff}TOK_S,note,model,engine,quant,hardware,flag\n1.5, hi ,m,e,q,h,old\n";
        let table = Table::read(text.as_bytes(), "t").unwrap();
        assert_eq!(table.columns, ["TOK_S", "note", "model", "engine", "quant", "hardware"]);
        assert_eq!(table.rows[0].cells, ["1.5", "hi", "m", "e", "q", "h"]);
        assert_eq!((&*table.rows[0].tok_s, &*table.rows[0].devices), ("1.5", ""));
    }

    #[test]
    fn what_is_no_table_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "`engine` is there 0 times"),
            ("engine,model,quant,hardware,tok_s,model\n", "`model` is there 2 times"),
            ("engine,model,quant,hardware,tok_s\n", "0 rows"),
            ("engine,model,quant,hardware,tok_s\na,b\n", "2 fields"),
        ] {
            let error = Table::read(text.as_bytes(), "t.csv").unwrap_err().to_string();
            assert!(error.starts_with("t.csv: ") && error.contains(part), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Table::read(&bytes[..], "t");
            let with_header = [b"engine,model,quant,hardware,tok_s\n", &bytes[..]].concat();
            let _ = Table::read(&with_header[..], "t");
        }
    }
}
