//! Single integers.

use kernels_cpu::synthetic::Random;

use super::{Draft, Family, held_out, seen};
use crate::tasks::{
    draw::{Kind, between, pick, word},
    int_op::IntOp,
    int_test::IntTest,
};

pub(super) const FAMILIES: &[Family] = &[
    seen("int-op", op),
    seen("int-test", test),
    seen("int-two", two),
    seen("int-clamp", clamp),
    seen("int-label", label),
    seen("int-either", either),
    seen("int-choose", choose),
    seen("int-digits", digits),
    seen("int-divisors", divisors),
    held_out("int-three-ops", three_ops),
    held_out("int-label-of-op", label_of_op),
    held_out("int-both-tests", both_tests),
];

fn op(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 70);
    let doc = format!("Return $0 {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return {}", op.code("$0"))];
    Draft::new(&["change", "compute", "convert"], &[Kind::Int], doc, &body, move |a| Some(op.apply(a[0].int())?.into()))
        .near(near)
}

fn three_ops(random: &mut Random) -> Draft {
    let (mut op, last) = loop {
        let (op, last) = (IntOp::draw_chain(random, 100), IntOp::draw(random));
        // The last must not undo or repeat what it follows.
        if let IntOp::Then(_, second) = &op
            && std::mem::discriminant(&**second) != std::mem::discriminant(&last)
        {
            break (op, last);
        }
    };
    op = IntOp::Then(Box::new(op), Box::new(last));
    let doc = format!("Return $0 {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return {}", op.code("$0"))];
    Draft::new(&["change", "compute"], &[Kind::Int], doc, &body, move |a| Some(op.apply(a[0].int())?.into())).near(near)
}

fn test(random: &mut Random) -> Draft {
    let test = IntTest::draw_joined(random, 50);
    let doc = format!("Return whether $0 is {}.", test.words());
    let near = test.constants();
    let body = [format!("return {}", test.code("$0"))];
    Draft::new(&["is", "check", "accept"], &[Kind::Int], doc, &body, move |a| Some(test.holds(a[0].int()).into()))
        .near(near)
}

fn two(random: &mut Random) -> Draft {
    let op = IntOp::draw(random);
    let (word, sign) = *pick(random, &[("plus", "+"), ("minus", "-"), ("times", "*")]);
    let doc = format!("Return $0 {word} $1 {}.", op.words(random));
    let near = op.constants();
    let body = [format!("return $0 {sign} {}", op.operand("$1"))];
    Draft::new(&["combine", "mix", "compute"], &[Kind::Int, Kind::Int], doc, &body, move |a| {
        let (x, y) = (a[0].int(), op.apply(a[1].int())?);
        Some(
            match sign {
                "+" => x.checked_add(y),
                "-" => x.checked_sub(y),
                _ => x.checked_mul(y),
            }?
            .into(),
        )
    })
    .near(near)
}

fn clamp(random: &mut Random) -> Draft {
    let low = between(random, -9, 12);
    let high = low + between(random, 2, 30);
    let op = IntOp::draw(random);
    let near = [op.constants(), vec![low, high]].concat();
    let doc = format!("Return $0 {}, but no less than {low} and no more than {high}.", op.words(random));
    let body = [format!("return max({low}, min({high}, {}))", op.code("$0"))];
    Draft::new(&["clamp", "limit", "bound"], &[Kind::Int], doc, &body, move |a| {
        Some(op.apply(a[0].int())?.min(high).max(low).into())
    })
    .near(near)
}

fn labels(random: &mut Random) -> (String, String) {
    loop {
        let (yes, no) = (word(random), word(random));
        if yes != no {
            return (yes, no);
        }
    }
}

fn label(random: &mut Random) -> Draft {
    let (a, b) = loop {
        let (a, b) = (IntTest::draw(random), IntTest::draw(random));
        if std::mem::discriminant(&a) != std::mem::discriminant(&b) {
            break (a, b);
        }
    };
    let ((first, second), third) = (labels(random), word(random));
    let near = [a.constants(), b.constants()].concat();
    let doc =
        format!("Return '{first}' if $0 is {}, else '{second}' if it is {}, else '{third}'.", a.words(), b.words());
    let body = [
        format!("if {}:", a.code("$0")),
        format!("    return '{first}'"),
        format!("if {}:", b.code("$0")),
        format!("    return '{second}'"),
        format!("return '{third}'"),
    ];
    Draft::new(&["label", "classify", "name"], &[Kind::Int], doc, &body, move |args| {
        let x = args[0].int();
        Some(
            if a.holds(x) {
                &first
            } else if b.holds(x) {
                &second
            } else {
                &third
            }
            .clone()
            .into(),
        )
    })
    .near(near)
}

fn label_of_op(random: &mut Random) -> Draft {
    let (test, op) = loop {
        let (test, op) = (IntTest::draw(random), IntOp::draw(random));
        if !matches!(op, IntOp::AtMost(_) | IntOp::AtLeast(_)) {
            break (test, op);
        }
    };
    let (yes, no) = labels(random);
    let near = [test.constants(), op.constants()].concat();
    let doc = format!("Return '{yes}' if $0 {} is {}, else '{no}'.", op.words(random), test.words());
    let body =
        [format!("if {}:", test.code(&op.operand("$0"))), format!("    return '{yes}'"), format!("return '{no}'")];
    Draft::new(&["label", "classify"], &[Kind::Int], doc, &body, move |a| {
        Some(if test.holds(op.apply(a[0].int())?) { &yes } else { &no }.clone().into())
    })
    .near(near)
}

fn either(random: &mut Random) -> Draft {
    let (test, yes, no) = loop {
        let (test, yes, no) = (IntTest::draw(random), IntOp::draw(random), IntOp::draw(random));
        if yes != no {
            break (test, yes, no);
        }
    };
    let words = test.words();
    let doc = format!("Return $0 {} if it is {words}, otherwise $0 {}.", yes.words(random), no.words(random));
    let near = [test.constants(), yes.constants(), no.constants()].concat();
    let body = [
        format!("if {}:", test.code("$0")),
        format!("    return {}", yes.code("$0")),
        format!("return {}", no.code("$0")),
    ];
    Draft::new(&["step", "either", "next"], &[Kind::Int], doc, &body, move |a| {
        let x = a[0].int();
        Some(if test.holds(x) { yes.apply(x) } else { no.apply(x) }?.into())
    })
    .near(near)
}

fn choose(random: &mut Random) -> Draft {
    let test = IntTest::draw(random);
    let op = IntOp::draw(random);
    let doc = format!("Return $0 if $1 is {}, otherwise $1 {}.", test.words(), op.words(random));
    let near = [test.constants(), op.constants()].concat();
    let body = [format!("return $0 if {} else {}", test.code("$1"), op.code("$1"))];
    Draft::new(&["choose", "pick", "select"], &[Kind::Int, Kind::Int], doc, &body, move |a| {
        let (x, y) = (a[0].int(), a[1].int());
        Some(if test.holds(y) { x } else { op.apply(y)? }.into())
    })
    .near(near)
}

fn digits(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 30);
    let doc = format!("Return the sum of the digits of the absolute value of $0, each {}.", op.words(random));
    let body = [
        "total = 0".to_owned(),
        "digits = str(abs($0))".to_owned(),
        "for i in range(len(digits)):".to_owned(),
        "    x = int(digits[i])".to_owned(),
        format!("    total += {}", op.code("x")),
        "return total".to_owned(),
    ];
    Draft::new(&["digits", "digit_sum"], &[Kind::Int], doc, &body, move |a| {
        let digits = a[0].int().unsigned_abs().to_string();
        Some(digits.bytes().try_fold(0, |sum, d| Some(sum + op.apply(i64::from(d - b'0'))?))?.into())
    })
    .near(vec![123, 47, 90, -38])
}

fn divisors(random: &mut Random) -> Draft {
    let op = IntOp::draw(random);
    let doc = format!("Return the divisors of $0 in ascending order, each {}.", op.words(random));
    let body = [format!("return [{} for x in range(1, $0 + 1) if $0 % x == 0]", op.code("x"))];
    Draft::new(&["divisors", "factors"], &[Kind::Limit], doc, &body, move |a| {
        let n = a[0].int();
        Some(op.apply_all(&(1..=n).filter(|x| n % x == 0).collect::<Vec<_>>())?.into())
    })
}

fn both_tests(random: &mut Random) -> Draft {
    let (a, b) = loop {
        let (a, b) = (IntTest::draw(random), IntTest::draw(random));
        if std::mem::discriminant(&a) != std::mem::discriminant(&b) {
            break (a, b);
        }
    };
    let near = [a.constants(), b.constants()].concat();
    let doc = format!("Return whether $0 is {} and $1 is {}.", a.words(), b.words());
    let body = [format!("return {} and {}", a.code("$0"), b.code("$1"))];
    Draft::new(&["check", "accept"], &[Kind::Int, Kind::Int], doc, &body, move |args| {
        Some((a.holds(args[0].int()) && b.holds(args[1].int())).into())
    })
    .near(near)
}
