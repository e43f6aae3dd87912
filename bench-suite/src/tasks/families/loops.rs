//! Loops that carry a value: over lists of integers, or a number of times.

use kernels_cpu::synthetic::Random;

use super::{Draft, Family, held_out, seen};
use crate::tasks::{
    draw::{Kind, between, chance},
    int_op::IntOp,
    int_test::IntTest,
    value::Value,
};

pub(super) const FAMILIES: &[Family] = &[
    seen("loop-first", first),
    seen("loop-running-total", running_total),
    seen("loop-product", product),
    seen("loop-until", until),
    seen("loop-distinct", distinct),
    seen("loop-repeat", repeat),
    seen("loop-sequence", sequence),
    seen("loop-two-sums", two_sums),
    seen("loop-running-extreme", running_extreme),
    held_out("loop-first-mapped", first_mapped),
    held_out("loop-running-total-filtered", running_total_filtered),
    held_out("loop-product-filtered", product_filtered),
];

fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.map(str::to_owned).to_vec()
}

fn first(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let default = between(random, -9, 9);
    let doc = format!("Return the first number in $0 that is {}, or {default} if there is none.", test.words());
    let near = test.constants();
    let condition = format!("    if {}:", test.code("x"));
    let body = lines(["for x in $0:", &condition, "        return x", &format!("return {default}")]);
    Draft::new(&["first", "find", "find_first"], &[Kind::Ints], doc, &body, move |a| {
        Some(a[0].ints().into_iter().find(|x| test.holds(*x)).unwrap_or(default).into())
    })
    .near(near)
}

fn first_mapped(random: &mut Random) -> Draft {
    let (test, op) = (IntTest::draw(random), IntOp::draw(random));
    let default = between(random, -9, 9);
    let words = test.words();
    let doc =
        format!("Return the first number in $0 that is {words}, {}, or {default} if there is none.", op.words(random));
    let near = [test.constants(), op.constants()].concat();
    let (condition, found) = (format!("    if {}:", test.code("x")), format!("        return {}", op.code("x")));
    let body = lines(["for x in $0:", &condition, &found, &format!("return {default}")]);
    Draft::new(&["first", "find"], &[Kind::Ints], doc, &body, move |a| {
        match a[0].ints().into_iter().find(|x| test.holds(*x)) {
            Some(x) => Some(op.apply(x)?.into()),
            None => Some(default.into()),
        }
    })
    .near(near)
}

fn running(list: impl IntoIterator<Item = i64>, start: i64) -> Option<Vec<i64>> {
    list.into_iter()
        .scan(start, |total, x| {
            *total = total.checked_add(x)?;
            Some(Some(*total))
        })
        .collect()
}

fn running_total(random: &mut Random) -> Draft {
    let op = IntOp::draw(random);
    let start = between(random, 0, 9);
    let doc =
        format!("Return the running total of the numbers in $0, each {}, starting from {start}.", op.words(random));
    let near = op.constants();
    let step = format!("    total += {}", op.code("x"));
    let body =
        lines([&format!("total = {start}"), "out = []", "for x in $0:", &step, "    out.append(total)", "return out"]);
    Draft::new(&["running", "accumulate", "totals"], &[Kind::Ints], doc, &body, move |a| {
        Some(running(op.apply_all(&a[0].ints())?, start)?.into())
    })
    .near(near)
}

fn running_total_filtered(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let start = between(random, 0, 9);
    let doc =
        format!("Return the running total of the numbers in $0 that are {}, starting from {start}.", test.words());
    let near = test.constants();
    let condition = format!("    if {}:", test.code("x"));
    let body = lines([
        &format!("total = {start}"),
        "out = []",
        "for x in $0:",
        &condition,
        "        total += x",
        "        out.append(total)",
        "return out",
    ]);
    Draft::new(&["running", "accumulate"], &[Kind::Ints], doc, &body, move |a| {
        Some(running(test.keep(&a[0].ints()), start)?.into())
    })
    .near(near)
}

fn multiply(list: &[i64], start: i64) -> Option<i64> {
    list.iter().try_fold(start, |product, x| product.checked_mul(*x))
}

fn product(random: &mut Random) -> Draft {
    let op = IntOp::draw(random);
    let start = between(random, 1, 9);
    let doc = format!("Return {start} times the product of the numbers in $0, each {}.", op.words(random));
    let near = op.constants();
    let step = format!("    result *= {}", op.operand("x"));
    let body = lines([&format!("result = {start}"), "for x in $0:", &step, "return result"]);
    Draft::new(&["product", "multiply"], &[Kind::Ints], doc, &body, move |a| {
        Some(multiply(&op.apply_all(&a[0].ints())?, start)?.into())
    })
    .near(near)
}

fn product_filtered(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let start = between(random, 1, 9);
    let doc = format!("Return {start} times the product of the numbers in $0 that are {}.", test.words());
    let near = test.constants();
    let condition = format!("    if {}:", test.code("x"));
    let body =
        lines([&format!("result = {start}"), "for x in $0:", &condition, "        result *= x", "return result"]);
    Draft::new(&["product", "multiply"], &[Kind::Ints], doc, &body, move |a| {
        Some(multiply(&test.keep(&a[0].ints()), start)?.into())
    })
    .near(near)
}

fn until(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let doc = format!("Return the numbers in $0 before the first one that is {}.", test.words());
    let near = test.constants();
    let condition = format!("    if {}:", test.code("x"));
    let body = lines(["out = []", "for x in $0:", &condition, "        return out", "    out.append(x)", "return out"]);
    Draft::new(&["until", "before", "start_of"], &[Kind::Ints], doc, &body, move |a| {
        Some(a[0].ints().into_iter().take_while(|x| !test.holds(*x)).collect::<Vec<_>>().into())
    })
    .near(near)
}

fn unique(list: Vec<i64>) -> Vec<i64> {
    let mut out = Vec::new();
    for x in list {
        if !out.contains(&x) {
            out.push(x);
        }
    }
    out
}

fn distinct(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 30);
    let doc = format!("Return the distinct values of the numbers in $0, each {}, in order.", op.words(random));
    let near = op.constants();
    let value = format!("    y = {}", op.code("x"));
    let body =
        lines(["out = []", "for x in $0:", &value, "    if y not in out:", "        out.append(y)", "return out"]);
    Draft::new(&["distinct", "unique"], &[Kind::Ints], doc, &body, move |a| {
        Some(unique(op.apply_all(&a[0].ints())?).into())
    })
    .near(near)
}

fn repeat(random: &mut Random) -> Draft {
    let op = match random.below(3) {
        0 => IntOp::Add(between(random, 1, 20)),
        1 => IntOp::Multiply(between(random, 2, 5)),
        _ => IntOp::Then(
            Box::new(IntOp::Multiply(between(random, 2, 5))),
            Box::new(if chance(random, 50) {
                IntOp::Add(between(random, 1, 9))
            } else {
                IntOp::Subtract(between(random, 1, 9))
            }),
        ),
    };
    let start = between(random, 0, 12);
    let doc = format!("Start with {start}, have it {} $0 times, and return the result.", op.words(random));
    let step = format!("    result = {}", op.code("result"));
    let body = lines([&format!("result = {start}"), "for _ in range($0):", &step, "return result"]);
    Draft::new(&["repeat", "iterate", "grow"], &[Kind::Count], doc, &body, move |a| {
        Some((0..a[0].int()).try_fold(start, |x, _| op.apply(x))?.into())
    })
}

fn sequence(random: &mut Random) -> Draft {
    let (first, second, k) = (between(random, 0, 9), between(random, 0, 9), between(random, 0, 5));
    let plus = if k == 0 { String::new() } else { format!(" + {k}") };
    let words = if k == 0 { String::new() } else { format!(" plus {k}") };
    let doc = format!(
        "Return number $0, from 0, of the sequence {first}, {second} and so on where each next is the sum of the last two{words}."
    );
    let body = lines([
        &format!("p, q = {first}, {second}"),
        "for _ in range($0):",
        &format!("    p, q = q, p + q{plus}"),
        "return p",
    ]);
    Draft::new(&["sequence", "series", "term"], &[Kind::Count], doc, &body, move |a| {
        let (mut p, mut q) = (first, second);
        for _ in 0..a[0].int() {
            (p, q) = (q, p + q + k);
        }
        Some(p.into())
    })
}

fn two_sums(random: &mut Random) -> Draft {
    let (test, op) = (IntTest::draw(random), IntOp::draw(random));
    let words = test.words();
    let doc = format!("Add up the numbers in $0, but those that are {words} are first {}.", op.words(random));
    let near = [test.constants(), op.constants()].concat();
    let (condition, changed) = (format!("    if {}:", test.code("x")), format!("        total += {}", op.code("x")));
    let body =
        lines(["total = 0", "for x in $0:", &condition, &changed, "    else:", "        total += x", "return total"]);
    Draft::new(&["add_up", "weighted", "score"], &[Kind::Ints], doc, &body, move |a| {
        let list = a[0].ints().into_iter().map(|x| if test.holds(x) { op.apply(x) } else { Some(x) });
        list.collect::<Option<Vec<_>>>()?.iter().try_fold(0i64, |sum, x| sum.checked_add(*x)).map(Value::from)
    })
    .near(near)
}

fn running_extreme(random: &mut Random) -> Draft {
    let start = between(random, 0, 20);
    let largest = chance(random, 50);
    let (word, code) = if largest { ("largest", "max") } else { ("smallest", "min") };
    let op = IntOp::draw(random);
    let near = [op.constants(), vec![start]].concat();
    let doc = format!(
        "Return for each position the {word} so far of {start} and the numbers in $0, each {}.",
        op.words(random)
    );
    let step = format!("    best = {code}(best, {})", op.code("x"));
    let body =
        lines([&format!("best = {start}"), "out = []", "for x in $0:", &step, "    out.append(best)", "return out"]);
    Draft::new(&["running", "record", "best_of"], &[Kind::Ints], doc, &body, move |a| {
        let mut best = start;
        let list = op.apply_all(&a[0].ints())?.into_iter().map(|x| {
            best = if largest { best.max(x) } else { best.min(x) };
            best
        });
        Some(list.collect::<Vec<_>>().into())
    })
    .near(near)
}
