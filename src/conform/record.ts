import { type Place, VectorError } from "./errors.js";

/** At most 64 bits. */
const HEX = /^0x[0-9a-f]{1,16}$/i;

/** A 64-bit word of physical memory: where it lies (or a range's start) and what it holds (or the range's end). */
export type WordPair = readonly [first: bigint, second: bigint];

/**
 * A JSON object whose fields are read as what they must be. Every accessor throws `VectorError`, naming the field, when it
 * is missing or is something else.
 */
export class JsonRecord {
  private readonly fields: Readonly<Record<string, unknown>>;

  /** @param path the object's own name within its line; empty for the line itself */
  constructor(
    value: unknown,
    private readonly path: string,
    readonly place: Place,
  ) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new VectorError(`${path === "" ? "the line" : path} is not a JSON object`, place);
    }
    this.fields = value as Readonly<Record<string, unknown>>;
  }

  /** The error that names this field. */
  error(name: string, reason: string): VectorError {
    return new VectorError(`${this.path === "" ? name : `${this.path}.${name}`} ${reason}`, this.place);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.fields, name);
  }

  names(): string[] {
    return Object.keys(this.fields);
  }

  value(name: string): unknown {
    if (!this.has(name)) throw this.error(name, "is missing");
    return this.fields[name];
  }

  text(name: string): string {
    return this.checked(name, isText, "a string");
  }

  flag(name: string): boolean {
    return this.checked(name, isFlag, "true or false");
  }

  /** A whole number, not negative. */
  number(name: string): number {
    return this.checked(name, isNumber, "a whole number");
  }

  /** A hex string of at most 64 bits. */
  word(name: string): bigint {
    return BigInt(this.checked(name, isHex, "a hex string of at most 64 bits"));
  }

  /** A whole number of at most 32 bits, written as one or as a hex string. */
  identifier(name: string): number {
    const value = isText(this.value(name)) ? Number(this.word(name)) : this.number(name);
    if (value > 0xffff_ffff) throw this.error(name, "is wider than 32 bits");
    return value;
  }

  list(name: string): readonly unknown[] {
    return this.checked(name, isList, "a list");
  }

  texts(name: string): readonly string[] {
    return this.checked(name, (value) => isList(value) && value.every(isText), "a list of strings");
  }

  numbers(name: string): readonly number[] {
    return this.checked(name, (value) => isList(value) && value.every(isNumber), "a list of whole numbers");
  }

  /** A list of pairs of hex strings: memory words, or ranges. */
  pairs(name: string): readonly WordPair[] {
    const isPair = (value: unknown) => isList(value) && value.length === 2 && value.every(isHex);
    return this.list(name).map((pair, index) => {
      if (!isPair(pair)) throw this.error(`${name}[${index}]`, "is not a pair of hex strings of at most 64 bits");
      const [first, second] = pair as readonly [string, string];
      return [BigInt(first), BigInt(second)];
    });
  }

  record(name: string): JsonRecord {
    return new JsonRecord(this.value(name), this.path === "" ? name : `${this.path}.${name}`, this.place);
  }

  records(name: string): readonly JsonRecord[] {
    return this.list(name).map((value, index) => {
      const item = `${name}[${index}]`;
      return new JsonRecord(value, this.path === "" ? item : `${this.path}.${item}`, this.place);
    });
  }

  private checked<T>(name: string, is: (value: unknown) => boolean, what: string): T {
    const value = this.value(name);
    if (!is(value)) throw this.error(name, `is not ${what}`);
    return value as T;
  }
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isFlag(value: unknown): value is boolean {
  return typeof value === "boolean";
}

function isNumber(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isHex(value: unknown): value is string {
  return isText(value) && HEX.test(value);
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}
