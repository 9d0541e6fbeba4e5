/** Makes STEs and CDs from named fields: Arm IHI 0070, sections 5.2 and 5.4. */
import { field } from "../slow-format.js";
import { WORDS_OF_ENTRY } from "./structures.js";

/** Lowest bit of each field; addresses are given whole, and so counted from where their bit 0 would be. */
const STE = {
  V: 0,
  Config: 1,
  S1Fmt: 4,
  S1ContextPtr: 0,
  S1CDMax: 59,
  S1DSS: 64,
  PPAR: 82,
  S2FWB: 89,
  S1STALLD: 91,
  EATS: 92,
  STRW: 94,
  PRIVCFG: 112,
  INSTCFG: 114,
  S2VMID: 128,
  S2T0SZ: 160,
  S2SL0: 166,
  S2TG: 174,
  S2PS: 176,
  S2AA64: 179,
  S2ENDI: 180,
  S2AFFD: 181,
  S2PTW: 182,
  S2HD: 183,
  S2HA: 184,
  S2S: 185,
  S2R: 186,
  S2SL0_2: 194,
  S2DS: 195,
  S2TTB: 192,
} as const;

const CD = {
  T0SZ: 0,
  TG0: 6,
  EPD0: 14,
  ENDI: 15,
  T1SZ: 16,
  TG1: 22,
  EPD1: 30,
  V: 31,
  IPS: 32,
  AFFD: 35,
  WXN: 36,
  TBI0: 38,
  TBI1: 39,
  PAN: 40,
  AA64: 41,
  HD: 42,
  HA: 43,
  S: 44,
  R: 45,
  A: 46,
  ASID: 48,
  HAD0: 65,
  E0PD0: 66,
  TTB0: 64,
  EPAN: 123,
  HAD1: 129,
  E0PD1: 130,
  TTB1: 128,
  DS: 186,
} as const;

type Values<Layout> = { readonly [Name in keyof Layout]?: bigint | number | boolean };
export type SteFields = Values<typeof STE>;
export type CdFields = Values<typeof CD>;

function encode<Layout extends Readonly<Record<string, number>>>(layout: Layout, values: Values<Layout>): bigint {
  let entry = 0n;
  for (const [name, value] of Object.entries(values)) entry |= BigInt(value ?? 0) << BigInt(layout[name]);
  return entry;
}

export function encodeSte(fields: SteFields): bigint {
  return encode(STE, fields);
}

export function encodeCd(fields: CdFields): bigint {
  return encode(CD, fields);
}

/** Writes an STE or a CD; `write` takes one 64-bit word. */
export function writeEntry(entry: bigint, address: bigint, write: (address: bigint, word: bigint) => void): void {
  for (let index = 0; index < WORDS_OF_ENTRY; index++) {
    write(address + BigInt(8 * index), field(entry, 64 * index + 63, 64 * index));
  }
}
