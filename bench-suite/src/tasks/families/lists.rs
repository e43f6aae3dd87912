//! Lists of integers, in one expression.

use kernels_cpu::synthetic::Random;

use super::{Draft, Family, held_out, seen};
use crate::tasks::{
    draw::{Kind, between, chance, pick},
    int_op::IntOp,
    int_test::IntTest,
    value::Value,
};

pub(super) const FAMILIES: &[Family] = &[
    seen("list-map", map),
    seen("list-filter", filter),
    seen("list-sum-mapped", sum_mapped),
    seen("list-sum-filtered", sum_filtered),
    seen("list-count", count),
    seen("list-all", all),
    seen("list-any", any),
    seen("list-map-some", map_some),
    seen("list-positions", positions),
    seen("list-slice", slice),
    seen("list-sorted-part", sorted_part),
    seen("list-sorted-mapped", sorted_mapped),
    seen("list-zip", zip),
    seen("list-zip-sum", zip_sum),
    seen("list-with-index", with_index),
    seen("list-neighbours", neighbours),
    seen("list-other", other),
    seen("list-around", around),
    seen("list-extreme", extreme),
    seen("list-range", range),
    seen("list-range-sum", range_sum),
    held_out("list-filter-map", filter_map),
    held_out("list-sum-filtered-mapped", sum_filtered_mapped),
    held_out("list-sorted-filtered", sorted_filtered),
    held_out("list-slice-mapped", slice_mapped),
    held_out("list-zip-filtered", zip_filtered),
    held_out("list-range-filtered-sum", range_filtered_sum),
];

fn map(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 35);
    let doc = format!("Return {} $0, each {}.", pick(random, &["the numbers in", "all of"]), op.words(random));
    let near = op.constants();
    let body = [format!("return [{} for x in $0]", op.code("x"))];
    let verbs = &["map", "change", "convert"];
    Draft::new(verbs, &[Kind::Ints], doc, &body, move |a| Some(op.apply_all(&a[0].ints())?.into())).near(near)
}

fn filter(random: &mut Random) -> Draft {
    let test = IntTest::draw_joined(random, 35);
    let doc = format!("{} the numbers in $0 that are {}.", pick(random, &["Return", "Keep"]), test.words());
    let near = test.constants();
    let body = [format!("return [x for x in $0 if {}]", test.code("x"))];
    let verbs = &["filter", "keep", "select"];
    Draft::new(verbs, &[Kind::Ints], doc, &body, move |a| Some(test.keep(&a[0].ints()).into())).near(near)
}

fn filter_map(random: &mut Random) -> Draft {
    let (test, op) = (IntTest::draw(random), IntOp::draw(random));
    let doc = format!("Return the numbers in $0 that are {}, each {}.", test.words(), op.words(random));
    let near = [test.constants(), op.constants()].concat();
    let body = [format!("return [{} for x in $0 if {}]", op.code("x"), test.code("x"))];
    let meaning = move |a: &[Value]| Some(op.apply_all(&test.keep(&a[0].ints()))?.into());
    Draft::new(&["select", "pick"], &[Kind::Ints], doc, &body, meaning).near(near)
}

fn sum(list: &[i64]) -> Option<i64> {
    list.iter().try_fold(0i64, |sum, x| sum.checked_add(*x))
}

fn sum_mapped(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 20);
    let doc = format!("Return the sum of the numbers in $0, each {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return sum([{} for x in $0])", op.code("x"))];
    let verbs = &["sum", "total", "add_up"];
    Draft::new(verbs, &[Kind::Ints], doc, &body, move |a| Some(sum(&op.apply_all(&a[0].ints())?)?.into())).near(near)
}

fn sum_filtered(random: &mut Random) -> Draft {
    let test = IntTest::draw_joined(random, 20);
    let doc = format!("Return the sum of the numbers in $0 that are {}.", test.words());
    let near = test.constants();
    let body = [format!("return sum([x for x in $0 if {}])", test.code("x"))];
    let verbs = &["sum", "total", "add_up"];
    Draft::new(verbs, &[Kind::Ints], doc, &body, move |a| Some(sum(&test.keep(&a[0].ints()))?.into())).near(near)
}

fn sum_filtered_mapped(random: &mut Random) -> Draft {
    let (test, op) = (IntTest::draw(random), IntOp::draw(random));
    let doc = format!("Return the sum of the numbers in $0 that are {}, each {}.", test.words(), op.words(random));
    let near = [test.constants(), op.constants()].concat();
    let body = [format!("return sum([{} for x in $0 if {}])", op.code("x"), test.code("x"))];
    Draft::new(&["sum", "total"], &[Kind::Ints], doc, &body, move |a| {
        Some(sum(&op.apply_all(&test.keep(&a[0].ints()))?)?.into())
    })
    .near(near)
}

fn count(random: &mut Random) -> Draft {
    let test = IntTest::draw_joined(random, 35);
    let doc = if chance(random, 50) {
        format!("Count the numbers in $0 that are {}.", test.words())
    } else {
        format!("Return how many numbers in $0 are {}.", test.words())
    };
    let near = test.constants();
    let body = [format!("return len([x for x in $0 if {}])", test.code("x"))];
    let meaning = move |a: &[Value]| Some((test.keep(&a[0].ints()).len() as i64).into());
    Draft::new(&["count", "number_of"], &[Kind::Ints], doc, &body, meaning).near(near)
}

fn all(random: &mut Random) -> Draft {
    let test = IntTest::draw_joined(random, 20);
    let doc = format!("Return whether all numbers in $0 are {}.", test.words());
    let near = test.constants();
    let body = [format!("return all([{} for x in $0])", test.code("x"))];
    let meaning = move |a: &[Value]| Some(a[0].ints().iter().all(|x| test.holds(*x)).into());
    Draft::new(&["all", "check", "check_all"], &[Kind::Ints], doc, &body, meaning).near(near)
}

fn any(random: &mut Random) -> Draft {
    let test = IntTest::draw_joined(random, 20);
    let doc = format!("Return whether any number in $0 is {}.", test.words());
    let near = test.constants();
    let body = [format!("return any([{} for x in $0])", test.code("x"))];
    let meaning = move |a: &[Value]| Some(a[0].ints().iter().any(|x| test.holds(*x)).into());
    Draft::new(&["any", "check", "check_any"], &[Kind::Ints], doc, &body, meaning).near(near)
}

fn map_some(random: &mut Random) -> Draft {
    let (test, op) = (IntTest::draw(random), IntOp::draw(random));
    let doc = format!("Return $0 with each number that is {} {}.", test.words(), op.words(random));
    let near = [test.constants(), op.constants()].concat();
    let body = [format!("return [{} if {} else x for x in $0]", op.code("x"), test.code("x"))];
    Draft::new(&["change", "replace"], &[Kind::Ints], doc, &body, move |a| {
        let changed = a[0].ints().into_iter().map(|x| if test.holds(x) { op.apply(x) } else { Some(x) });
        Some(changed.collect::<Option<Vec<_>>>()?.into())
    })
    .near(near)
}

fn positions(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let doc = format!("Return the positions in $0 of the numbers that are {}.", test.words());
    let near = test.constants();
    let body = [format!("return [i for i in range(len($0)) if {}]", test.code("$0[i]"))];
    Draft::new(&["positions", "find", "locate"], &[Kind::Ints], doc, &body, move |a| {
        let list = a[0].ints();
        Some((0..list.len() as i64).filter(|i| test.holds(list[*i as usize])).collect::<Vec<_>>().into())
    })
    .near(near)
}

type Choose = Box<dyn Fn(&[i64]) -> Vec<i64>>;

/// Some of the places of a list.
struct Part {
    words: String,
    /// What follows the list.
    code: String,
    meaning: Choose,
}

impl Part {
    fn draw(random: &mut Random) -> Self {
        let k = 1 + random.below(6);
        let (step, start) = (k + 1, k - 1);
        let numbers = if k == 1 { "number".to_owned() } else { format!("{k} numbers") };
        let of = |words: String, code: String, meaning: Choose| Self { words, code, meaning };
        match random.below(6) {
            0 => of(
                format!("the first {numbers}"),
                format!("[:{k}]"),
                Box::new(move |list| list[..k.min(list.len())].to_vec()),
            ),
            1 => of(
                format!("the last {numbers}"),
                format!("[-{k}:]"),
                Box::new(move |list| list[list.len().saturating_sub(k)..].to_vec()),
            ),
            2 => of(
                format!("all but the first {numbers}"),
                format!("[{k}:]"),
                Box::new(move |list| list[k.min(list.len())..].to_vec()),
            ),
            3 => of(
                format!("all but the last {numbers}"),
                format!("[:-{k}]"),
                Box::new(move |list| list[..list.len().saturating_sub(k)].to_vec()),
            ),
            4 => of(
                format!("one in every {step} numbers"),
                format!("[::{step}]"),
                Box::new(move |list| list.iter().copied().step_by(step).collect()),
            ),
            _ => of(
                format!("every second number from position {start}"),
                format!("[{start}::2]"),
                Box::new(move |list| list.iter().copied().skip(start).step_by(2).collect()),
            ),
        }
    }
}

fn slice(random: &mut Random) -> Draft {
    let Part { words, code, meaning } = Part::draw(random);
    let extra = between(random, 0, 30);
    let (where_, sum) = if chance(random, 50) {
        (format!("followed by {extra}"), format!("($0 + [{extra}])"))
    } else {
        (format!("preceded by {extra}"), format!("([{extra}] + $0)"))
    };
    let first = sum.starts_with("([");
    let doc = format!("Return {words} of $0 {where_}.");
    let body = [format!("return {sum}{code}")];
    Draft::new(&["part", "slice", "take"], &[Kind::Ints], doc, &body, move |a| {
        let list = a[0].ints();
        let list = if first { [vec![extra], list].concat() } else { [list, vec![extra]].concat() };
        Some(meaning(&list).into())
    })
}

fn slice_mapped(random: &mut Random) -> Draft {
    let op = IntOp::draw(random);
    let Part { words, code, meaning } = Part::draw(random);
    let doc = format!("Return {words} of $0, each {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return [{} for x in $0{code}]", op.code("x"))];
    let meaning = move |a: &[Value]| Some(op.apply_all(&meaning(&a[0].ints()))?.into());
    Draft::new(&["part", "slice"], &[Kind::Ints], doc, &body, meaning).near(near)
}

fn sorted(mut list: Vec<i64>) -> Vec<i64> {
    list.sort_unstable();
    list
}

fn sorted_part(random: &mut Random) -> Draft {
    let k = 2 + random.below(5);
    let op = IntOp::draw(random);
    let largest = chance(random, 50);
    let (word, flag) = if largest { ("largest", ", reverse=True") } else { ("smallest", "") };
    let order = if largest { "descending" } else { "ascending" };
    let doc = format!("Return the {k} {word} numbers in $0 in {order} order, each {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return [{} for x in sorted($0{flag})[:{k}]]", op.code("x"))];
    Draft::new(&["top", "best", "order"], &[Kind::Ints], doc, &body, move |a| {
        let mut list = sorted(a[0].ints());
        if largest {
            list.reverse();
        }
        list.truncate(k);
        Some(op.apply_all(&list)?.into())
    })
    .near(near)
}

fn sorted_mapped(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 30);
    let doc = format!("Return the numbers in $0, each {}, in ascending order.", op.words(random));
    let near = op.constants();
    let body = [format!("return sorted([{} for x in $0])", op.code("x"))];
    Draft::new(&["sort", "order"], &[Kind::Ints], doc, &body, move |a| Some(sorted(op.apply_all(&a[0].ints())?).into()))
        .near(near)
}

fn sorted_filtered(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let doc = format!("Return the numbers in $0 that are {}, in ascending order.", test.words());
    let near = test.constants();
    let body = [format!("return sorted([x for x in $0 if {}])", test.code("x"))];
    let meaning = move |a: &[Value]| Some(sorted(test.keep(&a[0].ints())).into());
    Draft::new(&["sort", "order"], &[Kind::Ints], doc, &body, meaning).near(near)
}

/// A function of two integers: its words, its code, its meaning.
struct Pairing {
    words: String,
    /// With `X` and `Y` for the integers.
    code: String,
    meaning: Box<dyn Fn(i64, i64) -> Option<i64>>,
}

impl Pairing {
    fn draw(random: &mut Random) -> Self {
        let k = between(random, 2, 30);
        let of =
            |words: String, code: String, meaning: Box<dyn Fn(i64, i64) -> Option<i64>>| Self { words, code, meaning };
        match random.below(7) {
            0 => of(format!("the sum plus {k}"), format!("X + Y + {k}"), Box::new(move |x, y| Some(x + y + k))),
            1 => of(format!("the difference minus {k}"), format!("X - Y - {k}"), Box::new(move |x, y| Some(x - y - k))),
            2 => of(
                format!("the product plus {k}"),
                format!("X * Y + {k}"),
                Box::new(move |x, y| Some(x.checked_mul(y)? + k)),
            ),
            3 => of(format!("{k} times the sum"), format!("{k} * (X + Y)"), Box::new(move |x, y| Some(k * (x + y)))),
            4 => {
                of(format!("the larger plus {k}"), format!("max(X, Y) + {k}"), Box::new(move |x, y| Some(x.max(y) + k)))
            }
            5 => of(
                format!("the smaller times {k}"),
                format!("min(X, Y) * {k}"),
                Box::new(move |x, y| Some(x.min(y) * k)),
            ),
            _ => of(
                format!("the distance times {k}"),
                format!("abs(X - Y) * {k}"),
                Box::new(move |x, y| Some((x - y).abs() * k)),
            ),
        }
    }

    fn over(&self, x: &str, y: &str) -> String {
        self.code.replace('X', x).replace('Y', y)
    }

    fn of_all(&self, pairs: impl IntoIterator<Item = (i64, i64)>) -> Option<Vec<i64>> {
        pairs.into_iter().map(|(x, y)| (self.meaning)(x, y)).collect()
    }
}

fn pairs(a: &[Value]) -> Vec<(i64, i64)> {
    a[0].ints().into_iter().zip(a[1].ints()).collect()
}

fn zip(random: &mut Random) -> Draft {
    let pairing = Pairing::draw(random);
    let (words, code) = (&pairing.words, pairing.over("x", "y"));
    let doc = format!("For each pair from $0 and $1, return {words}.");
    let body = [format!("return [{code} for x, y in zip($0, $1)]")];
    Draft::new(&["combine", "pair", "join"], &[Kind::Ints, Kind::Ints], doc, &body, move |a| {
        Some(pairing.of_all(pairs(a))?.into())
    })
}

fn zip_sum(random: &mut Random) -> Draft {
    let pairing = Pairing::draw(random);
    let (words, code) = (&pairing.words, pairing.over("x", "y"));
    let doc = format!("Return the sum over all pairs from $0 and $1 of {words}.");
    let body = [format!("return sum([{code} for x, y in zip($0, $1)])")];
    Draft::new(&["combine", "total", "sum"], &[Kind::Ints, Kind::Ints], doc, &body, move |a| {
        Some(sum(&pairing.of_all(pairs(a))?)?.into())
    })
}

fn zip_filtered(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let pairing = Pairing::draw(random);
    let (words, code) = (&pairing.words, pairing.over("x", "y"));
    let doc = format!("For each pair from $0 and $1 whose first is {}, return {words}.", test.words());
    let near = test.constants();
    let body = [format!("return [{code} for x, y in zip($0, $1) if {}]", test.code("x"))];
    Draft::new(&["combine", "pair"], &[Kind::Ints, Kind::Ints], doc, &body, move |a| {
        let kept = pairs(a).into_iter().filter(|(x, _)| test.holds(*x));
        Some(pairing.of_all(kept)?.into())
    })
    .near(near)
}

fn with_index(random: &mut Random) -> Draft {
    let op = IntOp::draw(random);
    let (words, sign) = *pick(random, &[("plus", "+"), ("minus", "-"), ("times", "*")]);
    let doc = format!("Return each number in $0 {words} its position {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return [x {sign} {} for i, x in enumerate($0)]", op.operand("i"))];
    Draft::new(&["number", "weigh", "shift"], &[Kind::Ints], doc, &body, move |a| {
        let with = a[0].ints().into_iter().enumerate().map(|(i, x)| {
            let i = op.apply(i as i64)?;
            match sign {
                "+" => x.checked_add(i),
                "-" => x.checked_sub(i),
                _ => x.checked_mul(i),
            }
        });
        Some(with.collect::<Option<Vec<_>>>()?.into())
    })
    .near(near)
}

fn neighbours(random: &mut Random) -> Draft {
    let pairing = Pairing::draw(random);
    let (words, code) = (&pairing.words, pairing.over("$0[i]", "$0[i + 1]"));
    let doc = format!("For each pair of neighbours in $0, return {words}.");
    let body = [format!("return [{code} for i in range(len($0) - 1)]")];
    Draft::new(&["neighbours", "steps", "adjacent"], &[Kind::Ints], doc, &body, move |a| {
        let list = a[0].ints();
        Some(pairing.of_all(list.windows(2).map(|w| (w[0], w[1])))?.into())
    })
}

fn other(random: &mut Random) -> Draft {
    let op = IntOp::draw(random);
    let common = chance(random, 50);
    let (word, code) = if common { ("also", "in") } else { ("not", "not in") };
    let doc = format!("Return the numbers in $0 that are {word} in $1, each {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return [{} for x in $0 if x {code} $1]", op.code("x"))];
    Draft::new(&["common", "compare", "other"], &[Kind::Ints, Kind::Ints], doc, &body, move |a| {
        let second = a[1].ints();
        let kept: Vec<i64> = a[0].ints().into_iter().filter(|x| second.contains(x) == common).collect();
        Some(op.apply_all(&kept)?.into())
    })
    .near([near, vec![2, 5]].concat())
}

fn around(random: &mut Random) -> Draft {
    let (first, last) = (between(random, 0, 30), between(random, 0, 30));
    let (doc, code) = match random.below(3) {
        0 => {
            (format!("Return $0 with {first} put before it and {last} after it."), format!("[{first}] + $0 + [{last}]"))
        }
        1 => (format!("Return $0 reversed, with {first} put before it."), format!("[{first}] + $0[::-1]")),
        _ => (format!("Return $0 with {last} put after it, all twice over."), format!("($0 + [{last}]) * 2")),
    };
    let which = if code.starts_with('(') { 2 } else { usize::from(code.contains("::")) };
    let body = [format!("return {code}")];
    Draft::new(&["extend", "wrap", "around"], &[Kind::Ints], doc, &body, move |a| {
        let list = a[0].ints();
        Some(
            match which {
                0 => [vec![first], list, vec![last]].concat(),
                1 => std::iter::once(first).chain(list.into_iter().rev()).collect(),
                _ => [list, vec![last]].concat().repeat(2),
            }
            .into(),
        )
    })
}

fn extreme(random: &mut Random) -> Draft {
    let op = IntOp::draw(random);
    let default = between(random, -9, 9);
    let largest = chance(random, 50);
    let (word, code) = if largest { ("largest", "max") } else { ("smallest", "min") };
    let doc = format!("Return the {word} of $0, each {}, or {default} if $0 is empty.", op.words(random));
    let near = op.constants();
    let body = [
        "if not $0:".to_owned(),
        format!("    return {default}"),
        format!("return {code}([{} for x in $0])", op.code("x")),
    ];
    Draft::new(if largest { &["max", "largest"] } else { &["min", "smallest"] }, &[Kind::Ints], doc, &body, move |a| {
        let list = op.apply_all(&a[0].ints())?;
        let found = if largest { list.into_iter().max() } else { list.into_iter().min() };
        Some(found.unwrap_or(default).into())
    })
    .near(near)
}

fn range(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let start = between(random, 0, 3);
    let doc = format!("Return the numbers from {start} up to and including $0 that are {}.", test.words());
    let near = test.constants();
    let body = [format!("return [x for x in range({start}, $0 + 1) if {}]", test.code("x"))];
    Draft::new(&["numbers", "list", "range"], &[Kind::Limit], doc, &body, move |a| {
        Some((start..=a[0].int()).filter(|x| test.holds(*x)).collect::<Vec<_>>().into())
    })
    .near(near)
}

fn range_sum(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 30);
    let doc = format!("Return the sum of the numbers from 0 up to but excluding $0, each {}.", op.words(random));
    let body = [format!("return sum([{} for x in range($0)])", op.code("x"))];
    Draft::new(&["sum", "total", "series"], &[Kind::Limit], doc, &body, move |a| {
        Some(sum(&op.apply_all(&(0..a[0].int()).collect::<Vec<_>>())?)?.into())
    })
}

fn range_filtered_sum(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let start = between(random, 0, 3);
    let doc = format!("Return the sum of the numbers from {start} up to and including $0 that are {}.", test.words());
    let near = test.constants();
    let body = [format!("return sum([x for x in range({start}, $0 + 1) if {}])", test.code("x"))];
    Draft::new(&["sum", "total"], &[Kind::Limit], doc, &body, move |a| {
        Some(sum(&test.keep(&(start..=a[0].int()).collect::<Vec<_>>()))?.into())
    })
    .near(near)
}
