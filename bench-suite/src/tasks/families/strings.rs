//! Single strings.

use kernels_cpu::synthetic::Random;

use super::{Draft, Family, held_out, seen};
use crate::tasks::{
    draw::{Kind, between, chance, fragment, pick, word},
    int_op::IntOp,
    str_op::{StrOp, affix},
    str_test::StrTest,
    value::Value,
};

pub(super) const FAMILIES: &[Family] = &[
    seen("string-op", op),
    seen("string-test", test),
    seen("string-two", two),
    seen("string-count", count),
    seen("string-length", length),
    seen("string-if", either),
    seen("string-label", label),
    seen("string-characters", characters),
    seen("string-repeat", repeat),
    seen("string-palindrome", palindrome),
    held_out("string-three-ops", three_ops),
    held_out("string-label-of-op", label_of_op),
    held_out("string-if-else", if_else),
];

fn op(random: &mut Random) -> Draft {
    let op = StrOp::draw_chain(random, 65);
    let doc = format!("Return $0 {}.", op.words());
    let around = op.texts();
    let body = [format!("return {}", op.code("$0"))];
    let verbs = &["change", "format", "convert"];
    Draft::new(verbs, &[Kind::Word], doc, &body, move |a| Some(op.apply(a[0].str()).into())).around(around)
}

fn three_ops(random: &mut Random) -> Draft {
    let op = loop {
        let (op, last) = (StrOp::draw_chain(random, 100), StrOp::draw(random));
        if let StrOp::Then(_, second) = &op
            && std::mem::discriminant(&**second) != std::mem::discriminant(&last)
        {
            break StrOp::Then(Box::new(op), Box::new(last));
        }
    };
    let doc = format!("Return $0 {}.", op.words());
    let around = op.texts();
    let body = [format!("return {}", op.code("$0"))];
    let verbs = &["change", "format"];
    Draft::new(verbs, &[Kind::Word], doc, &body, move |a| Some(op.apply(a[0].str()).into())).around(around)
}

fn test(random: &mut Random) -> Draft {
    let test = StrTest::draw_joined(random, 50);
    let doc = format!("Return whether $0 {}.", test.words());
    let around = test.texts();
    let body = [format!("return {}", test.code("$0"))];
    let verbs = &["is", "check", "accept"];
    Draft::new(verbs, &[Kind::Word], doc, &body, move |a| Some(test.holds(a[0].str()).into())).around(around)
}

fn two(random: &mut Random) -> Draft {
    let (op, between) = (StrOp::draw(random), affix(random));
    let doc = format!("Return $0, then '{between}', then $1 {}.", op.words());
    let around = op.texts();
    let second = op.code("$1");
    let body = [format!("return $0 + '{between}' + {second}")];
    Draft::new(&["join", "combine", "merge"], &[Kind::Word, Kind::Word], doc, &body, move |a| {
        Some(format!("{}{between}{}", a[0].str(), op.apply(a[1].str())).into())
    })
    .around(around)
}

fn count(random: &mut Random) -> Draft {
    let (part, op) = (fragment(random, 2), IntOp::draw(random));
    let doc = format!("Return how many times '{part}' is in $0, {}.", op.words(random));
    let around = vec![part.clone()];
    let body = [format!("return {}", op.code(&format!("$0.count('{part}')")))];
    Draft::new(&["count", "occurrences"], &[Kind::Word], doc, &body, move |a| {
        Some(op.apply(a[0].str().matches(part.as_str()).count() as i64)?.into())
    })
    .around(around)
}

fn length(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 60);
    let doc = format!("Return the length of $0 {}.", op.words(random));
    let body = [format!("return {}", op.code("len($0)"))];
    let verbs = &["length", "measure", "size"];
    Draft::new(verbs, &[Kind::Word], doc, &body, move |a| Some(op.apply(a[0].str().len() as i64)?.into()))
}

fn either(random: &mut Random) -> Draft {
    let (test, op) = (StrTest::draw(random), StrOp::draw(random));
    let doc = format!("Return $0 {} if it {}, otherwise $0 as it is.", op.words(), test.words());
    let around = [test.texts(), op.texts()].concat();
    let body = [format!("if {}:", test.code("$0")), format!("    return {}", op.code("$0")), "return $0".to_owned()];
    Draft::new(&["fix", "change", "adjust"], &[Kind::Word], doc, &body, move |a| {
        let s = a[0].str();
        Some(if test.holds(s) { op.apply(s) } else { s.to_owned() }.into())
    })
    .around(around)
}

fn if_else(random: &mut Random) -> Draft {
    let (test, yes, no) = loop {
        let (test, yes, no) = (StrTest::draw(random), StrOp::draw(random), StrOp::draw(random));
        if yes != no {
            break (test, yes, no);
        }
    };
    let doc = format!("Return $0 {} if it {}, otherwise $0 {}.", yes.words(), test.words(), no.words());
    let around = [test.texts(), yes.texts(), no.texts()].concat();
    let body = [
        format!("if {}:", test.code("$0")),
        format!("    return {}", yes.code("$0")),
        format!("return {}", no.code("$0")),
    ];
    Draft::new(&["fix", "change"], &[Kind::Word], doc, &body, move |a| {
        let s = a[0].str();
        Some(if test.holds(s) { yes.apply(s) } else { no.apply(s) }.into())
    })
    .around(around)
}

fn different(random: &mut Random) -> (String, String) {
    loop {
        let (a, b) = (word(random), word(random));
        if a != b {
            return (a, b);
        }
    }
}

fn label(random: &mut Random) -> Draft {
    let test = StrTest::draw_joined(random, 30);
    let (yes, no) = different(random);
    let doc = format!("Return '{yes}' if $0 {}, else '{no}'.", test.words());
    let around = test.texts();
    let body = [format!("if {}:", test.code("$0")), format!("    return '{yes}'"), format!("return '{no}'")];
    Draft::new(&["label", "classify", "sort"], &[Kind::Word], doc, &body, move |a| {
        Some(if test.holds(a[0].str()) { &yes } else { &no }.clone().into())
    })
    .around(around)
}

fn label_of_op(random: &mut Random) -> Draft {
    let (test, op) = (StrTest::draw(random), StrOp::draw(random));
    let (yes, no) = different(random);
    let doc = format!("Return '{yes}' if $0 {} {}, else '{no}'.", op.words(), test.words());
    let around = [test.texts(), op.texts()].concat();
    let body =
        [format!("if {}:", test.code(&op.operand("$0"))), format!("    return '{yes}'"), format!("return '{no}'")];
    Draft::new(&["label", "classify"], &[Kind::Word], doc, &body, move |a| {
        Some(if test.holds(&op.apply(a[0].str())) { &yes } else { &no }.clone().into())
    })
    .around(around)
}

fn characters(random: &mut Random) -> Draft {
    let letters = loop {
        let letters = fragment(random, 3) + &fragment(random, 2);
        let mut distinct: Vec<char> = letters.chars().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() == letters.len() {
            break letters;
        }
    };
    let keep = chance(random, 50);
    let (word, code) = if keep { ("in", "in") } else { ("not in", "not in") };
    let separator = if chance(random, 50) { String::new() } else { affix(random) };
    let joined = if separator.is_empty() { String::new() } else { format!(" joined by '{separator}'") };
    let doc = format!("Return the characters of $0 that are {word} '{letters}'{joined}.");
    let around = vec![letters.clone()];
    let body = [format!("return '{separator}'.join([$0[i] for i in range(len($0)) if $0[i] {code} '{letters}'])")];
    Draft::new(&["letters", "keep", "strip"], &[Kind::Word], doc, &body, move |a| {
        let kept = a[0].str().chars().filter(|c| letters.contains(*c) == keep).map(String::from);
        Some(kept.collect::<Vec<_>>().join(&separator).into())
    })
    .around(around)
}

fn repeat(random: &mut Random) -> Draft {
    let (op, separator) = (StrOp::draw(random), affix(random));
    let doc = format!("Return $0 {}, $1 times, joined by '{separator}'.", op.words());
    let around = op.texts();
    let body = [format!("return '{separator}'.join([{}] * $1)", op.code("$0"))];
    Draft::new(&["repeat", "echo", "multiply"], &[Kind::Word, Kind::Count], doc, &body, move |a| {
        let word: Value = op.apply(a[0].str()).into();
        Some(vec![word.str(); a[1].int() as usize].join(&separator).into())
    })
    .around(around)
}

fn palindrome(random: &mut Random) -> Draft {
    let op = match random.below(3) {
        0 => StrOp::WithoutFirst(between(random, 1, 3) as usize),
        1 => StrOp::Append(affix(random)),
        _ => StrOp::Last(between(random, 2, 6) as usize),
    };
    let (yes, no) = different(random);
    let (word, sign) = *pick(random, &[("reads", "=="), ("does not read", "!=")]);
    let doc = format!("Return '{yes}' if $0 {} {word} the same backwards, else '{no}'.", op.words());
    let around = [op.texts(), ["noon", "level", "abba", "aa"].map(String::from).to_vec()].concat();
    let body = [
        format!("t = {}", op.code("$0")),
        format!("if t {sign} t[::-1]:"),
        format!("    return '{yes}'"),
        format!("return '{no}'"),
    ];
    Draft::new(&["mirror", "palindrome"], &[Kind::Word], doc, &body, move |a| {
        let t = op.apply(a[0].str());
        let same = t.chars().eq(t.chars().rev());
        Some(if same == (sign == "==") { &yes } else { &no }.clone().into())
    })
    .around(around)
}
