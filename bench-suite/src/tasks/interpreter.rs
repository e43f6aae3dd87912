//! A completion and its tests in the Starlark interpreter, in this process.
//!
//! Starlark has no file, network, clock or random numbers; `load` finds nothing here. The interpreter's own limits hold
//! between steps only: [`worker`](super::worker) adds those that hold within one.

use std::cell::Cell;

use serde::{Deserialize, Serialize};
use starlark::{
    ErrorKind, PrintHandler,
    environment::{FrozenModule, Globals, GlobalsBuilder, LibraryExtension, Module},
    eval::Evaluator,
    syntax::{AstModule, Dialect},
    values::{Heap, Value, list::UnpackList},
};

use super::{limits::Limits, outcome::Outcome};

/// A completed program and what it must do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Prompt and completion.
    pub program: String,
    /// The function to call.
    pub entry_point: String,
    /// Arguments as a tuple, and the expected result, both as literals.
    pub tests: Vec<(String, String)>,
}

/// Runs it.
pub fn run(job: &Job, limits: &Limits) -> Outcome {
    if job.program.len() > limits.program_bytes {
        return Outcome::error(&format!("program of {} bytes; at most {}", job.program.len(), limits.program_bytes));
    }
    let globals = globals();
    let printed = Printed { left: Cell::new(limits.output_bytes), full: Cell::new(false) };
    match define(job, limits, &globals, &printed).and_then(|module| test(job, limits, &globals, &printed, &module)) {
        Ok(()) => Outcome::Passed,
        Err(outcome) => outcome,
    }
}

/// Starlark's own functions, those of Python that it lacks and tasks need, and `print`.
fn globals() -> Globals {
    use LibraryExtension::{Filter, Map, Print, SetType};
    GlobalsBuilder::extended_by(&[Filter, Map, Print, SetType]).with(python).build()
}

#[starlark::starlark_module]
fn python(builder: &mut GlobalsBuilder) {
    /// Python's `sum` of a list.
    fn sum<'v>(#[starlark(require = pos)] list: UnpackList<Value<'v>>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        list.items.into_iter().try_fold(heap.alloc(0), |sum, value| sum.add(value, heap))
    }
}

struct Printed {
    left: Cell<usize>,
    full: Cell<bool>,
}

impl PrintHandler for Printed {
    fn println(&self, text: &str) -> starlark::Result<()> {
        match self.left.get().checked_sub(text.len() + 1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.full.set(true);
                Err(starlark::Error::new_other(std::fmt::Error))
            }
        }
    }
}

fn dialect() -> Dialect {
    Dialect {
        enable_load: false,
        enable_keyword_only_arguments: true,
        enable_top_level_stmt: true,
        enable_f_strings: true,
        // Annotations are read over, as Python does.
        enable_types: starlark::syntax::DialectTypes::ParseOnly,
        ..Dialect::Standard
    }
}

/// The module that the program defines.
fn define(job: &Job, limits: &Limits, globals: &Globals, printed: &Printed) -> Result<FrozenModule, Outcome> {
    let ast =
        AstModule::parse("completion", job.program.clone(), &dialect()).map_err(|e| Outcome::error(&e.to_string()))?;
    Module::with_temp_heap(|module| {
        {
            let mut evaluator = evaluator(&module, limits, printed)?;
            let result = evaluator.eval_module(ast, globals);
            settle(&evaluator, limits, printed, result)?;
        }
        module.freeze().map_err(|e| Outcome::error(&starlark::Error::from(e).to_string()))
    })
}

/// Calls the function in a module of its own: what the program renames or redefines does not reach the tests.
fn test(
    job: &Job,
    limits: &Limits,
    globals: &Globals,
    printed: &Printed,
    program: &FrozenModule,
) -> Result<(), Outcome> {
    let function = program.get_any_visibility(&job.entry_point).map_err(|e| Outcome::error(&e.to_string()))?.0;
    Module::with_temp_heap(|module| {
        let mut evaluator = evaluator(&module, limits, printed)?;
        let function = module.heap().access_owned_frozen_value(&function);
        for (index, (arguments, expected)) in job.tests.iter().enumerate() {
            let mut literal = |text: &str| {
                let ast = AstModule::parse("test", text.to_owned(), &dialect());
                let value = ast.and_then(|ast| evaluator.eval_module(ast, globals));
                value.map_err(|e| Outcome::error(&format!("test {index} is malformed: {e}")))
            };
            let (arguments, expected) = (literal(arguments)?, literal(expected)?);
            let arguments: Vec<Value<'_>> =
                arguments.iterate(module.heap()).map_err(|e| Outcome::error(&e.to_string()))?.collect();
            let result = evaluator.eval_function(function, &arguments, &[]);
            let result = settle(&evaluator, limits, printed, result)?;
            if !result.equals(expected).unwrap_or(false) {
                return Err(Outcome::FailedTest { test: Some(index) });
            }
        }
        Ok(())
    })
}

fn evaluator<'v, 'a>(
    module: &'a Module<'v>,
    limits: &Limits,
    printed: &'a Printed,
) -> Result<Evaluator<'v, 'a, 'a>, Outcome> {
    let mut evaluator = Evaluator::new(module);
    // Values are held here between calls, where a collection would not see them; the limit on the heap stands in.
    evaluator.disable_gc();
    evaluator.set_print_handler(printed);
    let set = evaluator
        .set_max_callstack_size(limits.depth)
        .and_then(|()| evaluator.set_max_heap_size(limits.heap_bytes))
        .and_then(|()| evaluator.set_max_tick_count(limits.steps));
    set.map_err(|e| Outcome::error(&e.to_string()))?;
    Ok(evaluator)
}

/// A result, or which limit or error ended it.
fn settle<'v>(
    evaluator: &Evaluator<'v, '_, '_>,
    limits: &Limits,
    printed: &Printed,
    result: starlark::Result<Value<'v>>,
) -> Result<Value<'v>, Outcome> {
    if evaluator.get_total_tick_count() > limits.steps {
        return Err(Outcome::OutOfSteps);
    }
    if evaluator.heap().peak_allocated_bytes() > limits.heap_bytes {
        return Err(Outcome::OutOfMemory);
    }
    result.map_err(|e| match e.kind() {
        _ if printed.full.get() => Outcome::OutOfOutput,
        ErrorKind::StackOverflow(_) => Outcome::OutOfStack,
        kind => Outcome::error(&kind.to_string()),
    })
}
