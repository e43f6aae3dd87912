"""Byte-level BPE as GPT-2 has it, trained on the corpus. No merge holds a digit, so numbers are read digit by digit."""

import heapq
import json
import re
from collections import Counter, defaultdict

END = "<|endoftext|>"

# GPT-2's split into words, for ASCII: letters, digits, other marks, spaces.
SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_characters():
    """GPT-2's printable character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters, spare = {}, 256
    for byte in range(256):
        if byte in printable:
            characters[byte] = chr(byte)
        else:
            characters[byte] = chr(spare)
            spare += 1
    return characters


CHARACTERS = byte_characters()


def spell(word):
    return tuple(CHARACTERS[byte] for byte in word.encode())


class Tokenizer:
    """Token 0 ends a text and begins one; then the bytes, then the merges in order."""

    def __init__(self, merges):
        self.merges = [tuple(merge) for merge in merges]
        self.tokens = [END, *CHARACTERS.values(), *("".join(merge) for merge in self.merges)]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.ranks = {merge: rank for rank, merge in enumerate(self.merges)}
        self.known = {}
        self.bytes = {character: byte for byte, character in CHARACTERS.items()}

    @classmethod
    def train(cls, texts, size):
        counts = Counter(word for text in texts for word in SPLIT.findall(text))
        words = [[list(spell(word)), count] for word, count in sorted(counts.items())]
        pairs, where = Counter(), defaultdict(set)

        def change(index, sign):
            symbols, count = words[index]
            for pair in zip(symbols, symbols[1:]):
                if not any(c.isdigit() for c in pair[0] + pair[1]):
                    pairs[pair] += sign * count
                    where[pair].add(index)

        for index in range(len(words)):
            change(index, 1)
        queue = [(-count, pair) for pair, count in pairs.items()]
        heapq.heapify(queue)
        merges = []
        while len(merges) < size - 257 and queue:
            count, pair = heapq.heappop(queue)
            if -count != pairs[pair]:
                continue
            merges.append(pair)
            touched = set()
            for index in sorted(where[pair]):
                change(index, -1)
                symbols = words[index][0]
                words[index][0] = merged(symbols, pair)
                change(index, 1)
                touched.update(zip(words[index][0], words[index][0][1:]))
            for new in sorted(touched):
                if pairs[new] > 1:
                    heapq.heappush(queue, (-pairs[new], new))
        return cls(merges)

    def encode(self, text):
        ids = []
        for word in SPLIT.findall(text):
            if word not in self.known:
                self.known[word] = self.encode_word(word)
            ids += self.known[word]
        return ids

    def encode_word(self, word):
        symbols = list(spell(word))
        while len(symbols) > 1:
            pair = min(zip(symbols, symbols[1:]), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if pair not in self.ranks:
                break
            symbols = merged(symbols, pair)
        return [self.ids[symbol] for symbol in symbols]

    def decode(self, ids):
        text = "".join(self.tokens[index] for index in ids if index != 0)
        return bytes(self.bytes[character] for character in text).decode(errors="replace")

    def save(self, path):
        path.write_text(json.dumps(self.merges))

    @classmethod
    def load(cls, path):
        return cls(json.loads(path.read_text()))


def merged(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out
