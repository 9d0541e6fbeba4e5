/** Naming the bits of structures in memory, from declarative tables: one table a structure, as specifications print them. */

/** Consecutive bits of a structure; bit n is counted over all its words, lowest address first. */
export interface Field {
  readonly name: string;
  readonly high: number;
  readonly low: number;
  /** The bits are those of an address: its value is the address itself, low bits zero. */
  readonly address?: boolean;
  /** Decoded even when zero, because zero says something. */
  readonly always?: boolean;
  /** What a value means. */
  readonly meaning?: (value: bigint) => string | undefined;
}

export interface DecodedField {
  readonly name: string;
  /** "8:6", or "0" for a single bit. */
  readonly bits: string;
  readonly value: bigint;
  readonly meaning?: string;
}

const WORD_BITS = 64;

/** A single bit. */
export function bit(name: string, at: number, options: Omit<Field, "name" | "high" | "low"> = {}): Field {
  return { name, high: at, low: at, ...options };
}

export function bits(
  name: string,
  high: number,
  low: number,
  options: Omit<Field, "name" | "high" | "low"> = {},
): Field {
  return { name, high, low, ...options };
}

/** Bits that must be zero, a field a word; none when `high` is below `low`. */
export function reserved(high: number, low = high): readonly Field[] {
  if (high < low) return [];
  const end = Math.min(high, low - (low % WORD_BITS) + WORD_BITS - 1);
  return [{ name: "reserved", high: end, low }, ...reserved(high, end + 1)];
}

/** Bits that hardware does not look at. */
export function ignored(high: number, low = high): Field {
  return { name: "ignored", high, low };
}

/** Meanings by value. */
export function named(meanings: Readonly<Record<number, string>>): (value: bigint) => string | undefined {
  return (value) => meanings[Number(value)];
}

/**
 * The fields of a structure that are not zero, or say something by being zero. Fields beyond the words are left out.
 * @param words 64-bit words, lowest address first
 */
export function decode(fields: readonly Field[], words: readonly bigint[]): DecodedField[] {
  const whole = words.reduceRight((value, word) => (value << 64n) | BigInt.asUintN(WORD_BITS, word), 0n);
  return fields
    .filter(({ high }) => high < words.length * WORD_BITS)
    .map((field) => ({ field, value: extract(field, whole) }))
    .filter(({ field, value }) => value !== 0n || field.always === true)
    .map(({ field: { name, high, low, meaning }, value }) => {
      const said = meaning?.(value);
      return {
        name,
        bits: high === low ? String(low) : `${high}:${low}`,
        value,
        ...(said === undefined ? {} : { meaning: said }),
      };
    });
}

function extract({ high, low, address }: Field, whole: bigint): bigint {
  const value = BigInt.asUintN(high - low + 1, whole >> BigInt(low));
  return address ? value << BigInt(low % WORD_BITS) : value;
}

/** A decoded field on one line: "PGTT 8:6 = 0x1 (first-stage)". */
export function fieldLine({ name, bits, value, meaning }: DecodedField): string {
  return `${name} ${bits} = 0x${value.toString(16)}${meaning === undefined ? "" : ` (${meaning})`}`;
}
