//! Dictionaries from strings to integers.

use kernels_cpu::synthetic::Random;

use super::{Draft, Family, held_out, seen};
use crate::tasks::{
    draw::{Kind, between, chance, word},
    int_op::IntOp,
    int_test::IntTest,
    str_op::StrOp,
    str_test::StrTest,
    value::Value,
};

pub(super) const FAMILIES: &[Family] = &[
    seen("dict-keys", keys),
    seen("dict-map", map),
    seen("dict-filter", filter),
    seen("dict-sum", sum),
    seen("dict-get", get),
    seen("dict-look-up", look_up),
    seen("dict-count", count),
    seen("dict-set", set),
    seen("dict-tally", tally),
    held_out("dict-filter-map", filter_map),
    held_out("dict-sum-filtered", sum_filtered),
    held_out("dict-keys-mapped", keys_mapped),
];

fn keys(random: &mut Random) -> Draft {
    let test = IntTest::draw_joined(random, 25);
    let doc = format!("Return the keys of $0 whose values are {}.", test.words());
    let near = test.constants();
    let body = [format!("return [k for k, v in $0.items() if {}]", test.code("v"))];
    Draft::new(&["keys", "find", "select"], &[Kind::Dict], doc, &body, move |a| {
        let kept = a[0].entries().iter().filter(|(_, v)| test.holds(*v));
        Some(kept.map(|(k, _)| k.as_str()).collect::<Vec<_>>().into())
    })
    .near(near)
}

fn keys_mapped(random: &mut Random) -> Draft {
    let (test, op) = (IntTest::draw(random), StrOp::draw(random));
    let doc = format!("Return the keys of $0 whose values are {}, each {}.", test.words(), op.words());
    let (near, around) = (test.constants(), op.texts());
    let body = [format!("return [{} for k, v in $0.items() if {}]", op.code("k"), test.code("v"))];
    Draft::new(&["keys", "select"], &[Kind::Dict], doc, &body, move |a| {
        let kept = a[0].entries().iter().filter(|(_, v)| test.holds(*v));
        Some(kept.map(|(k, _)| op.apply(k)).collect::<Vec<_>>().into())
    })
    .near(near)
    .around(around)
}

fn entries(list: impl IntoIterator<Item = Option<(String, i64)>>) -> Option<Value> {
    Some(Value::Dict(list.into_iter().collect::<Option<_>>()?))
}

fn map(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 30);
    let doc = format!("Return $0 with each value {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return {{k: {} for k, v in $0.items()}}", op.code("v"))];
    Draft::new(&["map", "change", "update"], &[Kind::Dict], doc, &body, move |a| {
        entries(a[0].entries().iter().map(|(k, v)| Some((k.clone(), op.apply(*v)?))))
    })
    .near(near)
}

/// Whether a key and its value are kept.
type EntryTest = Box<dyn Fn(&str, i64) -> bool>;

fn filter(random: &mut Random) -> Draft {
    let draft = |words: String, code: String, holds: EntryTest| {
        let doc = format!("Return the entries of $0 whose {words}.");
        let body = [format!("return {{k: v for k, v in $0.items() if {code}}}")];
        Draft::new(&["filter", "keep", "select"], &[Kind::Dict], doc, &body, move |a| {
            entries(a[0].entries().iter().filter(|(k, v)| holds(k, *v)).cloned().map(Some))
        })
    };
    if chance(random, 60) {
        let test = IntTest::draw(random);
        let (words, code, near) = (format!("values are {}", test.words()), test.code("v"), test.constants());
        draft(words, code, Box::new(move |_, v| test.holds(v))).near(near)
    } else {
        let test = StrTest::draw(random);
        let (words, code, around) = (format!("keys {}", test.plural()), test.code("k"), test.texts());
        draft(words, code, Box::new(move |k, _| test.holds(k))).around(around)
    }
}

fn filter_map(random: &mut Random) -> Draft {
    let (test, op) = (IntTest::draw(random), IntOp::draw(random));
    let doc = format!("Return the entries of $0 whose values are {}, each value {}.", test.words(), op.words(random));
    let near = [test.constants(), op.constants()].concat();
    let body = [format!("return {{k: {} for k, v in $0.items() if {}}}", op.code("v"), test.code("v"))];
    Draft::new(&["filter", "select"], &[Kind::Dict], doc, &body, move |a| {
        let kept = a[0].entries().iter().filter(|(_, v)| test.holds(*v));
        entries(kept.map(|(k, v)| Some((k.clone(), op.apply(*v)?))))
    })
    .near(near)
}

fn total(list: impl IntoIterator<Item = Option<i64>>) -> Option<Value> {
    let sum = list.into_iter().try_fold(0i64, |sum, x| sum.checked_add(x?))?;
    Some(sum.into())
}

fn sum(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 30);
    let doc = format!("Return the sum of the values of $0, each {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return sum([{} for v in $0.values()])", op.code("v"))];
    Draft::new(&["sum", "total", "add_up"], &[Kind::Dict], doc, &body, move |a| {
        total(a[0].entries().iter().map(|(_, v)| op.apply(*v)))
    })
    .near(near)
}

fn sum_filtered(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let doc = format!("Return the sum of the values of $0 that are {}.", test.words());
    let near = test.constants();
    let body = [format!("return sum([v for v in $0.values() if {}])", test.code("v"))];
    Draft::new(&["sum", "total"], &[Kind::Dict], doc, &body, move |a| {
        total(a[0].entries().iter().filter(|(_, v)| test.holds(*v)).map(|(_, v)| Some(*v)))
    })
    .near(near)
}

fn get(random: &mut Random) -> Draft {
    let (key, default, op) = (word(random), between(random, -20, 30), IntOp::draw(random));
    let doc = format!("Return the value of '{key}' in $0, or {default} if it has none, {}.", op.words(random));
    let (near, around) = (op.constants(), vec![key.clone()]);
    let body = [format!("return {}", op.code(&format!("$0.get('{key}', {default})")))];
    Draft::new(&["get", "look_up", "value"], &[Kind::Dict], doc, &body, move |a| {
        let found = a[0].entries().iter().find(|(k, _)| *k == key);
        Some(op.apply(found.map_or(default, |(_, v)| *v))?.into())
    })
    .near(near)
    .around(around)
}

fn look_up(random: &mut Random) -> Draft {
    let (default, op) = (between(random, -20, 30), IntOp::draw(random));
    let doc =
        format!("Return the value in $0 of each string in $1, {default} if it has none, each {}.", op.words(random));
    let (near, around) = (op.constants(), vec![word(random)]);
    let body = [format!("return [{} for w in $1]", op.code(&format!("$0.get(w, {default})")))];
    Draft::new(&["look_up", "find", "values"], &[Kind::Dict, Kind::Words], doc, &body, move |a| {
        let found = a[1].strs().into_iter().map(|w| a[0].entries().iter().find(|(k, _)| k == w));
        Some(found.map(|f| op.apply(f.map_or(default, |(_, v)| *v))).collect::<Option<Vec<_>>>()?.into())
    })
    .near(near)
    .around(around)
}

fn count(random: &mut Random) -> Draft {
    let test = IntTest::draw_joined(random, 25);
    let doc = format!("Return how many values of $0 are {}.", test.words());
    let near = test.constants();
    let body = [format!("return len([v for v in $0.values() if {}])", test.code("v"))];
    Draft::new(&["count", "number_of"], &[Kind::Dict], doc, &body, move |a| {
        Some((a[0].entries().iter().filter(|(_, v)| test.holds(*v)).count() as i64).into())
    })
    .near(near)
}

fn set(random: &mut Random) -> Draft {
    let (key, value) = (word(random), between(random, -9, 40));
    let op = IntOp::draw(random);
    let doc = format!("Return $0 with each value {} and with '{key}' set to {value}.", op.words(random));
    let (near, around) = (op.constants(), vec![key.clone()]);
    let body = [
        format!("out = {{k: {} for k, v in $0.items()}}", op.code("v")),
        format!("out['{key}'] = {value}"),
        "return out".to_owned(),
    ];
    Draft::new(&["set", "put", "update"], &[Kind::Dict], doc, &body, move |a| {
        let mut out =
            a[0].entries().iter().map(|(k, v)| Some((k.clone(), op.apply(*v)?))).collect::<Option<Vec<_>>>()?;
        match out.iter_mut().find(|(k, _)| *k == key) {
            Some((_, v)) => *v = value,
            None => out.push((key.clone(), value)),
        }
        Some(Value::Dict(out))
    })
    .near(near)
    .around(around)
}

fn tally(random: &mut Random) -> Draft {
    let (start, step) = (between(random, 0, 30), between(random, 1, 12));
    let doc = format!("Count the strings in $0 into a dict, each from {start} upwards in steps of {step}.");
    let body = [
        "out = {}".to_owned(),
        "for w in $0:".to_owned(),
        format!("    out[w] = out.get(w, {start}) + {step}"),
        "return out".to_owned(),
    ];
    Draft::new(&["tally", "count", "histogram"], &[Kind::Words], doc, &body, move |a| {
        let mut out: Vec<(String, i64)> = Vec::new();
        for w in a[0].strs() {
            match out.iter_mut().find(|(k, _)| k == w) {
                Some((_, n)) => *n += step,
                None => out.push((w.to_owned(), start + step)),
            }
        }
        Some(Value::Dict(out))
    })
}
