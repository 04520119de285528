"""Hash functions of which rings, tables and keys are made: bit for bit Envoy's.

The only place that knows the xxhash library.
"""

from collections.abc import Callable, Iterator

from xxhash import xxh64_intdigest

from ...clock import Dice

MASK = (1 << 64) - 1
MURMUR_SEED = 0xC70F6907
_MURMUR = 0xC6A4A7935BD1E995


def xx_hash_64(text: str, seed: int = 0) -> int:
    return xxh64_intdigest(text.encode("utf-8", "surrogateescape"), seed)


def murmur_hash_2(text: str, seed: int = MURMUR_SEED) -> int:
    """MurmurHash64A, as in libstdc++."""
    raw = text.encode("utf-8", "surrogateescape")
    whole = len(raw) & ~7
    found = seed ^ (len(raw) * _MURMUR & MASK)
    for start in range(0, whole, 8):
        word = int.from_bytes(raw[start : start + 8], "little") * _MURMUR & MASK
        word = (word ^ word >> 47) * _MURMUR & MASK
        found = (found ^ word) * _MURMUR & MASK
    if whole < len(raw):
        found = (found ^ int.from_bytes(raw[whole:], "little")) * _MURMUR & MASK
    found = (found ^ found >> 47) * _MURMUR & MASK
    return found ^ found >> 47


def djb2_case_insensitive(text: str) -> int:
    """As in Envoy, which multiplies by 34 where the original has 33."""
    found = 5381
    for byte in text.encode("utf-8", "surrogateescape").lower():
        found = (found * 34 + byte) & MASK
    return found


def random_hash(dice: Dice) -> int:
    """For a call that has no key of its own."""
    return int(dice() * (1 << 53)) * 2049 & MASK


HASHES: dict[str, Callable[[str], int]] = {"xx_hash": xx_hash_64, "murmur_hash_2": murmur_hash_2}
"""By the names that ``RingHash.hash_function`` has for them."""


def mersenne_twister(seed: int) -> Iterator[int]:
    """The 32-bit numbers of MT19937, as ``std::mt19937`` gives them for a seed."""
    state = [seed]
    for index in range(1, 624):
        state.append((1812433253 * (state[-1] ^ state[-1] >> 30) + index) & 0xFFFFFFFF)
    while True:
        for index in range(624):
            joined = state[index] & 0x80000000 | state[(index + 1) % 624] & 0x7FFFFFFF
            odd = 0x9908B0DF if joined & 1 else 0
            state[index] = state[(index + 397) % 624] ^ joined >> 1 ^ odd
        for word in state:
            number = word ^ word >> 11
            number = number ^ number << 7 & 0x9D2C5680
            number = number ^ number << 15 & 0xEFC60000
            yield number ^ number >> 18
