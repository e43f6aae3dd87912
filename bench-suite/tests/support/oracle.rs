//! A LLaMA model in f64, straight from the dequantised tensors of a file: no cache, no kernels, no shared code with the
//! decoder but the file reader. Position by position, everything is computed anew from the definition.

use bench_suite::gguf::{Gguf, Value};

struct Matrix {
    rows: usize,
    cols: usize,
    weights: Vec<f64>,
}

impl Matrix {
    fn of(file: &Gguf<'_>, name: &str) -> Option<Self> {
        let tensor = file.find(name)?;
        let (cols, rows) = (tensor.shape.sizes()[0], tensor.shape.sizes().get(1).copied().unwrap_or(1));
        let weights = tensor.format.decode_row(tensor.bytes).into_iter().map(f64::from).collect();
        Some(Self { rows, cols, weights })
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.weights[row * self.cols..][..self.cols]
    }

    fn times(&self, x: &[f64]) -> Vec<f64> {
        (0..self.rows).map(|row| dot(self.row(row), x)).collect()
    }

    fn transposed(&self) -> Self {
        let weights = (0..self.cols).flat_map(|col| (0..self.rows).map(move |row| self.row(row)[col])).collect();
        Self { rows: self.cols, cols: self.rows, weights }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Logits after the last of `tokens`.
pub fn logits(file: &Gguf<'_>, tokens: &[u32]) -> Vec<f64> {
    let matrix = |name: &str| Matrix::of(file, name).unwrap();
    let number = |key: &str| file.get(key).and_then(Value::as_u64).unwrap() as usize;
    let real = |key: &str| file.get(key).and_then(Value::as_f32).map(f64::from);
    let (heads, kv_heads) = (number("llama.attention.head_count"), number("llama.attention.head_count_kv"));
    let hidden = number("llama.embedding_length");
    let size = hidden / heads;
    let epsilon = real("llama.attention.layer_norm_rms_epsilon").unwrap();
    let relu = file.get("llama.hidden_activation").and_then(|v| v.as_str()) == Some("relu");
    let base = real("llama.rope.freq_base").unwrap_or(10_000.0);
    let scale = real("llama.rope.scaling.factor").unwrap_or(1.0);
    let factors = Matrix::of(file, "rope_freqs.weight").map_or(vec![1.0; size / 2], |m| m.weights);

    let norm = |x: &[f64], weights: &Matrix| -> Vec<f64> {
        let root = (dot(x, x) / x.len() as f64 + epsilon).sqrt();
        x.iter().zip(&weights.weights).map(|(x, w)| x / root * w).collect()
    };
    let turn = |x: &mut [f64], position: usize| {
        for head in x.chunks_mut(size) {
            for pair in 0..size / 2 {
                let frequency = base.powf(-2.0 * pair as f64 / size as f64) / scale / factors[pair];
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (a, b) = (head[2 * pair], head[2 * pair + 1]);
                (head[2 * pair], head[2 * pair + 1]) = (a * cos - b * sin, a * sin + b * cos);
            }
        }
    };
    let embedding = matrix("token_embd.weight");
    let mut states: Vec<Vec<f64>> = tokens.iter().map(|&token| embedding.row(token as usize).to_vec()).collect();
    for layer in 0..number("llama.block_count") {
        let part = |name: &str| Matrix::of(file, &format!("blk.{layer}.{name}.weight"));
        let weights = |name: &str| part(name).unwrap();
        let (attention_norm, ffn_norm) = (weights("attn_norm"), weights("ffn_norm"));
        let (q, k, v, output) = (weights("attn_q"), weights("attn_k"), weights("attn_v"), weights("attn_output"));
        let (gate, up) = (weights("ffn_gate"), weights("ffn_up"));
        let down = part("ffn_down").unwrap_or_else(|| weights("ffn_down_t").transposed());
        let normed: Vec<Vec<f64>> = states.iter().map(|x| norm(x, &attention_norm)).collect();
        let turned = |w: &Matrix| -> Vec<Vec<f64>> {
            let turned = |(position, x): (usize, &Vec<f64>)| {
                let mut x = w.times(x);
                turn(&mut x, position);
                x
            };
            normed.iter().enumerate().map(turned).collect()
        };
        let (queries, keys) = (turned(&q), turned(&k));
        let values: Vec<Vec<f64>> = normed.iter().map(|x| v.times(x)).collect();
        for position in 0..tokens.len() {
            let mut attended = Vec::new();
            for head in 0..heads {
                let own = head * size..(head + 1) * size;
                let shared = head * kv_heads / heads * size..(head * kv_heads / heads + 1) * size;
                let score = |past: usize| {
                    dot(&queries[position][own.clone()], &keys[past][shared.clone()]) / (size as f64).sqrt()
                };
                let weights: Vec<f64> = (0..=position).map(|past| score(past).exp()).collect();
                let sum: f64 = weights.iter().sum();
                attended.extend(
                    shared.clone().map(|i| {
                        weights.iter().zip(&values).map(|(weight, value)| weight * value[i]).sum::<f64>() / sum
                    }),
                );
            }
            let x = &mut states[position];
            x.iter_mut().zip(output.times(&attended)).for_each(|(x, y)| *x += y);
            let normed = norm(x, &ffn_norm);
            let act = |g: f64| if relu { g.max(0.0) } else { g / (1.0 + (-g).exp()) };
            let h: Vec<f64> = gate.times(&normed).into_iter().zip(up.times(&normed)).map(|(g, u)| act(g) * u).collect();
            x.iter_mut().zip(down.times(&h)).for_each(|(x, y)| *x += y);
        }
    }
    let last = norm(states.last().unwrap(), &matrix("output_norm.weight"));
    Matrix::of(file, "output.weight").unwrap_or(embedding).times(&last)
}
