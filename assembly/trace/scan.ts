/**
 * Scanning of trace text. All functions read from an address in linear memory and may look up to sixteen bytes past a
 * line's end, which the input buffer provides for; no pattern contains a line feed, so none matches across it.
 */
import { heapAllocate } from "../memory/heap";
import { REASON_BAD_NUMBER, REASON_OVERFLOW } from "../layout";

/** What the last parse function read, and where it stopped. */
export let parsed: u64 = 0;
export let cursor: usize = 0;

/** A pattern of at most sixteen ASCII characters as a block that `matches` compares in one step. */
export function pattern(text: string): usize {
  const at = heapAllocate(16);
  for (let index = 0; index < text.length; index++) store<u8>(at + <usize>index, <u8>text.charCodeAt(index));
  return at;
}

// @ts-ignore: decorator
@inline export function matches(at: usize, text: usize, length: i32): bool {
  const mask = (1 << length) - 1;
  return (i8x16.bitmask(i8x16.eq(v128.load(at), v128.load(text))) & mask) == mask;
}

/** Address of the first line feed in [at, end), or `end`. */
// @ts-ignore: decorator
@inline export function findLineFeed(at: usize, end: usize): usize {
  const lineFeed = i8x16.splat(10);
  while (at < end) {
    const found = i8x16.bitmask(i8x16.eq(v128.load(at), lineFeed));
    if (found) return min(at + <usize>ctz(found), end);
    at += 16;
  }
  return end;
}

/** Address behind the last line feed in [begin, end), or `begin`. Looks at up to fifteen bytes before `begin`. */
export function behindLastLineFeed(begin: usize, end: usize): usize {
  const lineFeed = i8x16.splat(10);
  while (end > begin) {
    end -= 16;
    const found = i8x16.bitmask(i8x16.eq(v128.load(end), lineFeed));
    if (found) return max(end + 32 - <usize>clz(found), begin);
  }
  return begin;
}

/** Address of the first `[` in [at, end), or `end`. */
// @ts-ignore: decorator
@inline export function findBracket(at: usize, end: usize): usize {
  const bracket = i8x16.splat(0x5b);
  while (at < end) {
    const found = i8x16.bitmask(i8x16.eq(v128.load(at), bracket));
    if (found) return min(at + <usize>ctz(found), end);
    at += 16;
  }
  return end;
}

// @ts-ignore: decorator
@inline export function isDigit(byte: u32): bool {
  return byte - 0x30 < 10;
}

// @ts-ignore: decorator
@inline function isHexDigit(byte: u32): bool {
  return byte - 0x30 < 10 || (byte | 0x20) - 0x61 < 6;
}

/** Space, tab, or the end of the line. */
// @ts-ignore: decorator
@inline export function isGap(byte: u32): bool {
  return byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09;
}

// @ts-ignore: decorator
@inline export function isLineEnd(byte: u32): bool {
  return byte == 0x0a || byte == 0x0d;
}

/** One bit for each of sixteen bytes that is no space or tab. */
// @ts-ignore: decorator
@inline function notBlank(at: usize): i32 {
  const bytes = v128.load(at);
  const blank = v128.or(i8x16.eq(bytes, i8x16.splat(0x20)), i8x16.eq(bytes, i8x16.splat(0x09)));
  return ~i8x16.bitmask(blank) & 0xffff;
}

/** One bit for each of sixteen bytes that is no letter, digit or underscore. */
// @ts-ignore: decorator
@inline function notName(at: usize): i32 {
  const bytes = v128.load(at);
  const letters = i8x16.lt_u(i8x16.sub(v128.or(bytes, i8x16.splat(0x20)), i8x16.splat(0x61)), i8x16.splat(26));
  const digits = i8x16.lt_u(i8x16.sub(bytes, i8x16.splat(0x30)), i8x16.splat(10));
  const underscores = i8x16.eq(bytes, i8x16.splat(0x5f));
  return ~i8x16.bitmask(v128.or(v128.or(letters, digits), underscores)) & 0xffff;
}

/** First byte at or after `at` that is no space or tab. */
// @ts-ignore: decorator
@inline export function skipSpaces(at: usize): usize {
  // The usual single space needs no wait for the vector.
  if (load<u8>(at) == 0x20 && load<u8>(at, 1) > 0x20) return at + 1;
  let others = notBlank(at);
  while (!others) {
    at += 16;
    others = notBlank(at);
  }
  return at + <usize>ctz(others);
}

/** First byte at or after `at` that is a gap: a space or any control character. */
// @ts-ignore: decorator
@inline export function skipWord(at: usize): usize {
  let gaps = i8x16.bitmask(i8x16.le_u(v128.load(at), i8x16.splat(0x20)));
  while (!gaps) {
    at += 16;
    gaps = i8x16.bitmask(i8x16.le_u(v128.load(at), i8x16.splat(0x20)));
  }
  return at + <usize>ctz(gaps);
}

/** First byte at or after `at` that is no letter, digit or underscore. */
// @ts-ignore: decorator
@inline export function skipName(at: usize): usize {
  let others = notName(at);
  while (!others) {
    at += 16;
    others = notName(at);
  }
  return at + <usize>ctz(others);
}

/** Eight digits, one a byte and the first in the lowest, as a number: joined to pairs, pairs to fours, fours to eight. */
// @ts-ignore: decorator
@inline function joinDigits(digits: u64): u64 {
  const pairs = ((digits * 2561) >> 8) & 0x00ff00ff00ff00ff;
  const fours = ((pairs * 6553601) >> 16) & 0x0000ffff0000ffff;
  return (fours * 42949672960001) >> 32;
}

/** The high bit of every byte that is no digit's value is set, from the lowest such byte on exactly. */
// @ts-ignore: decorator
@inline function noDigits(values: u64): u64 {
  return ((values + 0x7676767676767676) | values) & 0x8080808080808080;
}

/** Six decimal digits as a number, or −1. */
// @ts-ignore: decorator
@inline export function parseSixDigits(at: usize): i64 {
  const values = (load<u64>(at) ^ 0x3030303030303030) << 16;
  return noDigits(values) ? -1 : <i64>joinDigits(values);
}

/** Which of sixteen bytes are hexadecimal digits. */
// @ts-ignore: decorator
@inline function hexDigits(bytes: v128): i32 {
  const lower = v128.or(bytes, i8x16.splat(0x20));
  const digits = v128.and(i8x16.gt_s(bytes, i8x16.splat(0x2f)), i8x16.lt_s(bytes, i8x16.splat(0x3a)));
  const letters = v128.and(i8x16.gt_s(lower, i8x16.splat(0x60)), i8x16.lt_s(lower, i8x16.splat(0x67)));
  return i8x16.bitmask(v128.or(digits, letters));
}

/** The number that sixteen hexadecimal digits are. */
// @ts-ignore: decorator
@inline function hexValue(bytes: v128): u64 {
  const nine = v128.and(i8x16.gt_s(bytes, i8x16.splat(0x39)), i8x16.splat(9));
  const nibbles = v128.and(i8x16.add(bytes, nine), i8x16.splat(15));
  // The first character of a pair is the high nibble and, little-endian, the low byte of its 16-bit lane.
  const pairs = v128.or(i16x8.shl(nibbles, 4), i16x8.shr_u(nibbles, 8));
  const reversed = v128.shuffle<u8>(pairs, pairs, 14, 12, 10, 8, 6, 4, 2, 0, 14, 12, 10, 8, 6, 4, 2, 0);
  return i64x2.extract_lane(reversed, 0);
}

/** Whether the sixteen bytes are hexadecimal digits; `parsed` is their value. */
// @ts-ignore: decorator
@inline export function parseHex16(at: usize): bool {
  const bytes = v128.load(at);
  if (hexDigits(bytes) != 0xffff) return false;
  parsed = hexValue(bytes);
  return true;
}

/** Reads a hexadecimal number, with or without `0x`, of at most sixteen digits; 0 or the reason it is none. */
export function parseHex(at: usize): u32 {
  if (load<u16>(at) == 0x7830) at += 2;
  const bytes = v128.load(at);
  // One bit more, so that there is always one that is no digit.
  const count = <usize>ctz(hexDigits(bytes) ^ 0x1ffff);
  cursor = at + count;
  if (!count) return REASON_BAD_NUMBER;
  if (count == 16 && isHexDigit(load<u8>(cursor))) return REASON_OVERFLOW;
  parsed = hexValue(bytes) >> ((16 - <u64>count) << 2);
  return 0;
}

/** Reads a decimal number; 0 or the reason it is none. */
// @ts-ignore: decorator
@inline export function parseDecimal(at: usize): u32 {
  const values = load<u64>(at) ^ 0x3030303030303030;
  const others = noDigits(values);
  if (!others) return parseLongDecimal(at);
  const count = <usize>ctz(others) >> 3;
  cursor = at + count;
  if (!count) return REASON_BAD_NUMBER;
  parsed = joinDigits(values << (64 - ((<u64>count) << 3)));
  return 0;
}

/** The same for eight digits and more. */
function parseLongDecimal(at: usize): u32 {
  let value: u64 = 0;
  let overflow = false;
  for (;;) {
    const digit = <u32>load<u8>(at) - 0x30;
    if (digit > 9) break;
    if (value > 0x1999999999999998) overflow = true;
    value = value * 10 + <u64>digit;
    at++;
  }
  cursor = at;
  parsed = value;
  return overflow ? REASON_OVERFLOW : 0;
}
