/** JSON (RFC 8259), which has no bigint: sizes of page are written as in a machine's file, a list of bytes. */
export function jsonText(value: unknown, indent = 0): string {
  return JSON.stringify(value, (name, each: unknown) => (typeof each === "bigint" ? plain(name, each) : each), indent);
}

function plain(name: string, value: bigint): unknown {
  if (name !== "pageSizes") return `0x${value.toString(16)}`;
  const bits = Array.from({ length: 64 }, (_, bit) => 2 ** bit);
  return bits.filter((size) => value & BigInt(size));
}
