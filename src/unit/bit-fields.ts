/** Numbers in the bits of a register or a record, from tables of their places. */
import { IommuError } from "../engine/errors.js";

/** Fields by name: bit of the lowest, and width, at most 32 bits. */
export type BitFields = Readonly<Record<string, readonly [low: number, width: number]>>;

export type FieldValues<F extends BitFields> = { readonly [Name in keyof F]: number };

/** The named fields of a value. */
export function unpack<F extends BitFields>(fields: F, value: bigint): FieldValues<F> {
  const entries = Object.entries(fields).map(([name, [low, width]]) => [
    name,
    Number(BigInt.asUintN(width, value >> BigInt(low))),
  ]);
  return Object.fromEntries(entries) as FieldValues<F>;
}

/** `base` with some fields changed. Throws `invalid` for a field that is not in the table or does not fit its place. */
export function pack<F extends BitFields>(
  what: string,
  fields: F,
  base: bigint,
  changes: Partial<FieldValues<F>>,
): bigint {
  let value = base;
  for (const [name, field] of Object.entries(changes) as [string, number][]) {
    const place = fields[name];
    if (place === undefined) throw new IommuError("invalid", `${what} field ${name}`, undefined, "no such field");
    const [low, width] = place;
    if (!Number.isInteger(field) || field < 0 || field >= 2 ** width) {
      throw new IommuError("invalid", `${what} field ${name}=${field}`, undefined, `it has ${width} bits`);
    }
    const mask = ((1n << BigInt(width)) - 1n) << BigInt(low);
    value = (value & ~mask) | (BigInt(field) << BigInt(low));
  }
  return value;
}
