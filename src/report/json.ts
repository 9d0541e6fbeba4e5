/** JSON (RFC 8259), which has no bigint: a machine's sizes of page are written as hexadecimal text. */
export function jsonText(value: unknown, indent = 0): string {
  return JSON.stringify(
    value,
    (_, each: unknown) => (typeof each === "bigint" ? `0x${each.toString(16)}` : each),
    indent,
  );
}
