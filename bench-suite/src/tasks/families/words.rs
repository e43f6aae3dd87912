//! Lists of strings, and sentences.

use kernels_cpu::synthetic::Random;

use super::{Draft, Family, held_out, seen};
use crate::tasks::{
    draw::{Kind, chance, pick},
    int_op::IntOp,
    str_op::{StrOp, affix},
    str_test::StrTest,
    value::Value,
};

pub(super) const FAMILIES: &[Family] = &[
    seen("words-map", map),
    seen("words-filter", filter),
    seen("words-count", count),
    seen("words-lengths", lengths),
    seen("words-join", join),
    seen("words-numbers", numbers),
    seen("words-parse", parse),
    seen("words-longest", longest),
    seen("words-first", first),
    seen("words-index", index),
    seen("sentence-map", sentence_map),
    seen("sentence-filter", sentence_filter),
    held_out("words-filter-map", filter_map),
    held_out("words-filter-join", filter_join),
    held_out("words-lengths-filtered", lengths_filtered),
    held_out("sentence-filter-map", sentence_filter_map),
];

fn map(random: &mut Random) -> Draft {
    let op = StrOp::draw_chain(random, 35);
    let doc = format!("Return the strings in $0, each {}.", op.words());
    let around = op.texts();
    let body = [format!("return [{} for w in $0]", op.code("w"))];
    Draft::new(&["map", "change", "convert"], &[Kind::Words], doc, &body, move |a| {
        Some(a[0].strs().into_iter().map(|w| op.apply(w)).collect::<Vec<_>>().into())
    })
    .around(around)
}

fn kept<'a>(test: &StrTest, words: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    words.into_iter().filter(|w| test.holds(w)).collect()
}

fn filter(random: &mut Random) -> Draft {
    let test = StrTest::draw_joined(random, 35);
    let doc = format!("{} the strings in $0 that {}.", pick(random, &["Return", "Keep"]), test.plural());
    let around = test.texts();
    let body = [format!("return [w for w in $0 if {}]", test.code("w"))];
    Draft::new(&["filter", "keep", "select"], &[Kind::Words], doc, &body, move |a| {
        Some(kept(&test, a[0].strs()).into())
    })
    .around(around)
}

fn filter_map(random: &mut Random) -> Draft {
    let (test, op) = (StrTest::draw(random), StrOp::draw(random));
    let doc = format!("Return the strings in $0 that {}, each {}.", test.plural(), op.words());
    let around = [test.texts(), op.texts()].concat();
    let body = [format!("return [{} for w in $0 if {}]", op.code("w"), test.code("w"))];
    Draft::new(&["select", "pick"], &[Kind::Words], doc, &body, move |a| {
        Some(kept(&test, a[0].strs()).into_iter().map(|w| op.apply(w)).collect::<Vec<_>>().into())
    })
    .around(around)
}

fn count(random: &mut Random) -> Draft {
    let test = StrTest::draw_joined(random, 35);
    let doc = format!("Return how many strings in $0 {}.", test.plural());
    let around = test.texts();
    let body = [format!("return len([w for w in $0 if {}])", test.code("w"))];
    Draft::new(&["count", "number_of"], &[Kind::Words], doc, &body, move |a| {
        Some((kept(&test, a[0].strs()).len() as i64).into())
    })
    .around(around)
}

fn lengths(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 30);
    let doc = format!("Return the lengths of the strings in $0, each {}.", op.words(random));
    let body = [format!("return [{} for w in $0]", op.code("len(w)"))];
    Draft::new(&["lengths", "measure", "sizes"], &[Kind::Words], doc, &body, move |a| {
        Some(op.apply_all(&a[0].strs().iter().map(|w| w.len() as i64).collect::<Vec<_>>())?.into())
    })
}

fn lengths_filtered(random: &mut Random) -> Draft {
    let (test, op) = (StrTest::draw(random), IntOp::draw(random));
    let doc = format!("Return the lengths of the strings in $0 that {}, each {}.", test.plural(), op.words(random));
    let around = test.texts();
    let body = [format!("return [{} for w in $0 if {}]", op.code("len(w)"), test.code("w"))];
    Draft::new(&["lengths", "measure"], &[Kind::Words], doc, &body, move |a| {
        Some(op.apply_all(&kept(&test, a[0].strs()).iter().map(|w| w.len() as i64).collect::<Vec<_>>())?.into())
    })
    .around(around)
}

fn join(random: &mut Random) -> Draft {
    let (op, separator) = (StrOp::draw(random), affix(random));
    let doc = format!("Join the strings in $0, each {}, with '{separator}'.", op.words());
    let around = op.texts();
    let body = [format!("return '{separator}'.join([{} for w in $0])", op.code("w"))];
    Draft::new(&["join", "concat", "merge"], &[Kind::Words], doc, &body, move |a| {
        Some(a[0].strs().into_iter().map(|w| op.apply(w)).collect::<Vec<_>>().join(&separator).into())
    })
    .around(around)
}

fn filter_join(random: &mut Random) -> Draft {
    let (test, separator) = (StrTest::draw(random), affix(random));
    let doc = format!("Join the strings in $0 that {} with '{separator}'.", test.plural());
    let around = test.texts();
    let body = [format!("return '{separator}'.join([w for w in $0 if {}])", test.code("w"))];
    Draft::new(&["join", "concat"], &[Kind::Words], doc, &body, move |a| {
        Some(kept(&test, a[0].strs()).join(&separator).into())
    })
    .around(around)
}

fn numbers(random: &mut Random) -> Draft {
    let (op, separator) = (IntOp::draw_chain(random, 30), affix(random));
    let doc = format!("Return the numbers in $0, each {}, as a string joined by '{separator}'.", op.words(random));
    let near = op.constants();
    let body = [format!("return '{separator}'.join([str({}) for x in $0])", op.code("x"))];
    Draft::new(&["show", "write", "format"], &[Kind::Ints], doc, &body, move |a| {
        let texts = op.apply_all(&a[0].ints())?.iter().map(i64::to_string).collect::<Vec<_>>();
        Some(texts.join(&separator).into())
    })
    .near(near)
}

fn parse(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 20);
    let unit = affix(random);
    let doc = format!("Return the words of $0 as their lengths, each {}, joined by '{unit}'.", op.words(random));
    let body = [format!("return '{unit}'.join([str({}) for w in $0.split(' ')])", op.code("len(w)"))];
    Draft::new(&["parse", "read", "encode"], &[Kind::Sentence], doc, &body, move |a| {
        let lengths: Vec<i64> = a[0].str().split(' ').map(|w| w.len() as i64).collect();
        Some(op.apply_all(&lengths)?.iter().map(i64::to_string).collect::<Vec<_>>().join(&unit).into())
    })
}

fn longest(random: &mut Random) -> Draft {
    let start = affix(random);
    let (word, sign) = if chance(random, 50) { ("longest", ">") } else { ("shortest", "<") };
    let op = StrOp::draw(random);
    let around = op.texts();
    let doc = format!("Return the first of the {word} strings in $0, {}, or '{start}' if $0 is empty.", op.words());
    let body = [
        "if not $0:".to_owned(),
        format!("    return '{start}'"),
        "best = $0[0]".to_owned(),
        "for w in $0:".to_owned(),
        format!("    if len(w) {sign} len(best):"),
        "        best = w".to_owned(),
        format!("return {}", op.code("best")),
    ];
    let verbs = if sign == ">" { &["longest", "best"] } else { &["shortest", "best"] };
    Draft::new(verbs, &[Kind::Words], doc, &body, move |a| {
        let words = a[0].strs();
        let Some(mut best) = words.first().copied() else { return Some(start.clone().into()) };
        for w in words {
            if if sign == ">" { w.len() > best.len() } else { w.len() < best.len() } {
                best = w;
            }
        }
        Some(op.apply(best).into())
    })
    .around(around)
}

fn first(random: &mut Random) -> Draft {
    let (test, default) = (StrTest::draw(random), affix(random));
    let doc = format!("Return the first string in $0 that {}, or '{default}' if there is none.", test.words());
    let around = test.texts();
    let body = [
        "for w in $0:".to_owned(),
        format!("    if {}:", test.code("w")),
        "        return w".to_owned(),
        format!("return '{default}'"),
    ];
    Draft::new(&["first", "find", "find_first"], &[Kind::Words], doc, &body, move |a| {
        Some(a[0].strs().into_iter().find(|w| test.holds(w)).unwrap_or(&default).into())
    })
    .around(around)
}

fn index(random: &mut Random) -> Draft {
    let op = IntOp::draw_chain(random, 30);
    let doc = format!("Return a dict from each string in $0 to its length {}.", op.words(random));
    let body = [format!("return {{w: {} for w in $0}}", op.code("len(w)"))];
    Draft::new(&["index", "table", "lengths"], &[Kind::Words], doc, &body, move |a| {
        let mut entries: Vec<(String, i64)> = Vec::new();
        for w in a[0].strs() {
            if entries.iter().all(|(key, _)| key != w) {
                entries.push((w.to_owned(), op.apply(w.len() as i64)?));
            }
        }
        Some(Value::Dict(entries))
    })
}

fn sentence(words: &[String]) -> Value {
    words.join(" ").into()
}

fn sentence_map(random: &mut Random) -> Draft {
    let op = StrOp::draw(random);
    let doc = format!("Return $0 with each word {}.", op.words());
    let around = op.texts();
    let body = [format!("return ' '.join([{} for w in $0.split(' ')])", op.code("w"))];
    Draft::new(&["change", "edit", "map"], &[Kind::Sentence], doc, &body, move |a| {
        Some(sentence(&a[0].str().split(' ').map(|w| op.apply(w)).collect::<Vec<_>>()))
    })
    .around(around)
}

fn sentence_filter(random: &mut Random) -> Draft {
    let test = StrTest::draw(random);
    let doc = format!("Return the words of $0 that {}, joined by spaces.", test.plural());
    let around = test.texts();
    let body = [format!("return ' '.join([w for w in $0.split(' ') if {}])", test.code("w"))];
    Draft::new(&["keep", "filter", "select"], &[Kind::Sentence], doc, &body, move |a| {
        Some(kept(&test, a[0].str().split(' ')).join(" ").into())
    })
    .around(around)
}

fn sentence_filter_map(random: &mut Random) -> Draft {
    let (test, op) = (StrTest::draw(random), StrOp::draw(random));
    let doc = format!("Return the words of $0 that {}, each {}, joined by spaces.", test.plural(), op.words());
    let around = [test.texts(), op.texts()].concat();
    let body = [format!("return ' '.join([{} for w in $0.split(' ') if {}])", op.code("w"), test.code("w"))];
    Draft::new(&["keep", "select"], &[Kind::Sentence], doc, &body, move |a| {
        Some(sentence(&kept(&test, a[0].str().split(' ')).into_iter().map(|w| op.apply(w)).collect::<Vec<_>>()))
    })
    .around(around)
}
