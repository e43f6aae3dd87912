//! Values of the task language, and how they are written in it.

use std::fmt;

/// What arguments and results of a problem are made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A string of printable ASCII without quotes or backslashes.
    Str(String),
    /// A list.
    List(Vec<Value>),
    /// A dictionary, in order of insertion.
    Dict(Vec<(String, i64)>),
}

impl Value {
    /// The integer; 0 of anything else.
    pub fn int(&self) -> i64 {
        if let Self::Int(n) = self { *n } else { 0 }
    }

    /// The string; empty of anything else.
    pub fn str(&self) -> &str {
        if let Self::Str(s) = self { s } else { "" }
    }

    /// The integers of a list.
    pub fn ints(&self) -> Vec<i64> {
        if let Self::List(list) = self { list.iter().map(Self::int).collect() } else { Vec::new() }
    }

    /// The strings of a list.
    pub fn strs(&self) -> Vec<&str> {
        if let Self::List(list) = self { list.iter().map(Self::str).collect() } else { Vec::new() }
    }

    /// The entries of a dictionary.
    pub fn entries(&self) -> &[(String, i64)] {
        if let Self::Dict(entries) = self { entries } else { &[] }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(value: Vec<T>) -> Self {
        Self::List(value.into_iter().map(Into::into).collect())
    }
}

/// As Python's `repr` writes it; Starlark reads the same.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Str(s) => write!(f, "'{s}'"),
            Self::List(list) => {
                f.write_str("[")?;
                for (i, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Dict(entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}'{key}': {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}
