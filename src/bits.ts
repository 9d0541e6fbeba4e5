/** Powers of two in 64-bit addresses. */

export const KIB = 1024n;
export const MIB = 1024n * KIB;
export const GIB = 1024n * MIB;

/** Trailing zero bits of an address (the kernel's __ffs64); 64 for zero. */
export function trailingZeros(value: bigint): number {
  for (let shift = 0; shift < 64; shift += 32) {
    const half = Number(BigInt.asUintN(32, value >> BigInt(shift)));
    if (half !== 0) return shift + 31 - Math.clz32(half & -half);
  }
  return 64;
}

/** Bits needed to write a 64-bit number: 0 for zero, 13 for 4096. */
export function bitLength(value: bigint): number {
  const high = Number(BigInt.asUintN(32, value >> 32n));
  if (high !== 0) return 64 - Math.clz32(high);
  return 32 - Math.clz32(Number(BigInt.asUintN(32, value)));
}

export function alignDown(address: bigint, size: bigint): bigint {
  return address & -size;
}

export function alignUp(address: bigint, size: bigint): bigint {
  return (address + size - 1n) & -size;
}

export function isAligned(address: bigint, size: bigint): boolean {
  return (address & (size - 1n)) === 0n;
}

/** The smallest address from `from` on that is congruent to `residue` modulo a power of two. */
export function nextCongruent(from: bigint, residue: bigint, modulus: bigint): bigint {
  return from + ((residue - from) & (modulus - 1n));
}

/** Bitmap of page sizes (bit n = 2^n bytes) from the sizes. */
export function pageSizeBitmap(sizes: readonly bigint[]): bigint {
  return sizes.reduce((bitmap, size) => bitmap | size, 0n);
}

/** The sizes of a bitmap, smallest first. */
export function pageSizesOf(bitmap: bigint): bigint[] {
  const sizes: bigint[] = [];
  for (let left = bitmap; left !== 0n; left &= left - 1n) sizes.push(left & -left);
  return sizes;
}

const UNITS: ReadonlyMap<string, bigint> = new Map([
  ["", 1n],
  ["K", KIB],
  ["M", MIB],
  ["G", GIB],
]);

/** "0x1000", "4096", "4K", "2M", "1G" as a number; null for anything else. */
export function parseBytes(text: string): bigint | null {
  const [, digits, unit] = /^(0x[\da-f]+|\d+)([KMG]?)$/i.exec(text) ?? [];
  return digits === undefined ? null : BigInt(digits) * (UNITS.get(unit.toUpperCase()) ?? 1n);
}
