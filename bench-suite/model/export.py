"""Writes a checkpoint as GGUF, as llama.cpp reads it: architecture `llama`, tokenizer `gpt2`.

    python export.py run model.gguf --type f16

llama.cpp's `llama` runs SiLU whatever a file says; this model is ReGLU, and says so in `llama.hidden_activation`.
"""

import argparse
import pathlib

import gguf
from gguf import GGMLQuantizationType as Type

from model import load
from tokenizer import Tokenizer

TYPES = {"f32": Type.F32, "f16": Type.F16, "q8_0": Type.Q8_0}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="folder of a training run")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", choices=TYPES, default="f16", help="of matrices; norms are f32")
    arguments = parser.parse_args()
    model, state = load(arguments.run / "checkpoint.pt")
    tokenizer = Tokenizer.load(arguments.run / "merges.json")
    shape = model.shape

    writer = gguf.GGUFWriter(arguments.out.with_suffix(".part"), "llama")
    writer.add_name("thresher-tasks")
    writer.add_description(f"ReGLU LLaMA trained on code tasks, step {state['step']}, {state['seen']} tokens")
    writer.add_license("MIT OR Apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_string("llama.hidden_activation", "relu")
    writer.add_file_type({"f32": 0, "f16": 1, "q8_0": 7}[arguments.type])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokenizer.tokens)
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_token_types([control if index == 0 else normal for index in range(len(tokenizer.tokens))])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer.merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(True)

    for name, parameter in model.named_parameters():
        values = parameter.detach().float().numpy()
        kind = TYPES[arguments.type] if values.ndim == 2 else Type.F32
        values = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    arguments.out.with_suffix(".part").replace(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
