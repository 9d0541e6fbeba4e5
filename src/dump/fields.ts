/** "0x" and up to 16 hexadecimal digits as a number, null for anything else. */
export function parseHex(text: string): bigint | null {
  return /^0x[0-9a-f]{1,16}$/i.test(text) ? BigInt(text) : null;
}

/** PCI requester ID (bus << 8 | device << 3 | function) of "bb:dd.f" or "ssss:bb:dd.f", null for anything else. */
export function parseRequesterId(text: string): number | null {
  const found = /^(?:[0-9a-f]{4,}:)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/i.exec(text);
  if (found === null) return null;
  const [bus, device, pciFunction] = found.slice(1).map((digits) => Number.parseInt(digits, 16));
  return (bus << 8) | (device << 3) | pciFunction;
}
