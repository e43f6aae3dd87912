//! A problem in HumanEval's form, assembled from a draft: names, docstring, examples, hidden tests.

use kernels_cpu::synthetic::Random;

use super::{
    draw::{Kind, chance, input, pick},
    family::{Draft, Family},
    interpreter::Job,
    value::Value,
};

/// One call and what it must return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Arguments, in order.
    pub arguments: Vec<Value>,
    /// The result.
    pub expected: Value,
}

/// A function to complete. Fields as in HumanEval (Chen et al. 2021, arXiv 2107.03374, section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `thresher/FAMILY/NUMBER`.
    pub task_id: String,
    /// Name of its family.
    pub family: &'static str,
    /// Signature and docstring with examples, up to the line where the body begins.
    pub prompt: String,
    /// Name of the function.
    pub entry_point: String,
    /// The body that the tests were made for.
    pub canonical_solution: String,
    /// Hidden tests.
    pub cases: Vec<Case>,
}

const EXAMPLES: usize = 2;
/// Hidden tests of a problem, besides its examples.
pub const HIDDEN: usize = 24;
/// Longest list or sentence in an example, and in a hidden test.
const LONGEST: (usize, usize) = (4, 7);

impl Problem {
    /// The problem of `family` that `random` begins, with so many hidden tests; `None` in the rare case that no inputs
    /// show what it does. Problems that differ in tests alone come from one beginning.
    pub fn draw(family: &Family, number: usize, hidden: usize, random: &mut Random) -> Option<Self> {
        let draft = (family.draw)(random);
        let names = parameter_names(&draft.parameters, random);
        let entry_point = format!("{}_{}", pick(random, draft.verbs), pick(random, nouns(draft.parameters[0])));
        let examples = examples(&draft, random)?;
        let cases = tests(&draft, &examples, hidden, random);

        let mut prompt = format!("def {entry_point}({}):\n    \"\"\"{}\n", names.join(", "), named(&draft.doc, &names));
        for case in &examples {
            prompt += &format!("    >>> {}\n    {}\n", call(&entry_point, &case.arguments), case.expected);
        }
        prompt += "    \"\"\"\n";
        let canonical_solution = draft.body.iter().map(|line| format!("    {}\n", named(line, &names))).collect();
        let task_id = format!("thresher/{}/{number}", family.name);
        Some(Self { task_id, family: family.name, prompt, entry_point, canonical_solution, cases })
    }

    /// The problem completed by `completion`, for the interpreter.
    pub fn job(&self, completion: &str) -> Job {
        let tuple = |arguments: &[Value]| arguments.iter().map(|value| format!("{value}, ")).collect::<String>();
        let tests = self.cases.iter().map(|case| (format!("({})", tuple(&case.arguments)), case.expected.to_string()));
        Job {
            program: format!("{}{completion}", self.prompt),
            entry_point: self.entry_point.clone(),
            tests: tests.collect(),
        }
    }

    /// `check(candidate)` as HumanEval has it, for Python.
    pub fn test(&self) -> String {
        let mut text = "def check(candidate):\n".to_owned();
        for case in &self.cases {
            text += &format!("    assert {} == {}\n", call("candidate", &case.arguments), case.expected);
        }
        text
    }
}

/// A call as code.
pub fn call(function: &str, arguments: &[Value]) -> String {
    let arguments: Vec<String> = arguments.iter().map(Value::to_string).collect();
    format!("{function}({})", arguments.join(", "))
}

/// Names that a parameter of that kind may have. None of them is a name that bodies use.
pub fn names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Ints => &["numbers", "values", "items", "nums", "data", "xs", "ys", "scores"],
        Kind::Int | Kind::Count | Kind::Limit => &["n", "m", "num", "number", "value", "a", "b", "size"],
        Kind::Word | Kind::Sentence => &["s", "t", "text", "word", "line", "name", "string", "title"],
        Kind::Words => &["words", "names", "strings", "lines", "texts", "labels"],
        Kind::Dict => &["d", "table", "counts", "prices", "ages", "stock", "grades"],
    }
}

fn nouns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Ints => &["numbers", "values", "items", "list", "data"],
        Kind::Int | Kind::Count | Kind::Limit => &["number", "value", "n", "result", "it"],
        Kind::Word => &["text", "string", "word", "name"],
        Kind::Sentence => &["line", "sentence", "text", "words"],
        Kind::Words => &["words", "names", "strings", "labels"],
        Kind::Dict => &["table", "dict", "entries", "counts"],
    }
}

fn parameter_names(parameters: &[Kind], random: &mut Random) -> Vec<&'static str> {
    let mut drawn: Vec<&'static str> = Vec::new();
    for kind in parameters {
        loop {
            let name = *pick(random, names(*kind));
            if !drawn.contains(&name) {
                drawn.push(name);
                break;
            }
        }
    }
    drawn
}

fn named(text: &str, names: &[&str]) -> String {
    names.iter().enumerate().fold(text.to_owned(), |text, (i, name)| text.replace(&format!("${i}"), name))
}

fn draw_case(draft: &Draft, longest: usize, random: &mut Random) -> Option<Case> {
    let arguments: Vec<Value> =
        draft.parameters.iter().map(|kind| input(random, *kind, &draft.hints, longest)).collect();
    let expected = (draft.meaning)(&arguments)?;
    Some(Case { arguments, expected })
}

/// Two calls with different results, the first of them on something.
fn examples(draft: &Draft, random: &mut Random) -> Option<Vec<Case>> {
    let mut found: Vec<Case> = Vec::new();
    for _ in 0..100 {
        let Some(case) = draw_case(draft, LONGEST.0, random) else { continue };
        let plain = is_plain(&case.expected) || case.arguments.iter().any(is_plain);
        let known = found.iter().any(|other| other.expected == case.expected || other.arguments == case.arguments);
        // Now and then an example on nothing, as in hand-written docstrings.
        if known || (plain && (found.is_empty() || !chance(random, 10))) {
            continue;
        }
        found.push(case);
        if found.len() == EXAMPLES {
            return Some(found);
        }
    }
    None
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::Str(s) => s.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Dict(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Int(_) => false,
    }
}

/// The examples, then calls on new inputs: as HumanEval's hidden tests, which repeat those of the docstring.
fn tests(draft: &Draft, examples: &[Case], hidden: usize, random: &mut Random) -> Vec<Case> {
    let mut cases = examples.to_vec();
    for _ in 0..10 * hidden {
        if cases.len() == EXAMPLES + hidden {
            break;
        }
        let case = draw_case(draft, LONGEST.1, random);
        cases.extend(case.filter(|case| cases.iter().all(|known| known.arguments != case.arguments)));
    }
    cases
}
